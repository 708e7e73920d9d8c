//! Where attackers have addresses of their own.
//!
//! Nobody on loopback can be banned, so an attacker that is to be turned away before its request is read has to come
//! from somewhere else. On Linux, with the right to make them, that is another network namespace at the other end of
//! a cable (veth): the service runs in the one, a thread of the experiment in the other, and neither touches the
//! machine's own network or firewall. Elsewhere all of it is on loopback, the experiment is a reverse proxy that the
//! service trusts, and the attacker is named in `X-Forwarded-For`; accept and kernel know nothing of such names.

use std::thread;
#[cfg(target_os = "linux")]
use std::time::Duration;

use tokio::sync::oneshot;

use super::client::{Crowd, Way};
use crate::edge::Bans;

/// Customers, who pay.
pub(super) const CUSTOMERS: Crowd = Crowd::new([198, 19, 1, 1], 50);
/// Clients of the analytics.
pub(super) const ANALYSTS: Crowd = Crowd::new([198, 19, 2, 1], 250);
/// The one that is watched while it is being banned.
pub(super) const ATTACKER: Crowd = Crowd::new([198, 19, 4, 1], 1);
/// Senders of one request each.
pub(super) const STRANGERS: Crowd = Crowd::new([198, 19, 16, 0], 4_096);

/// Attackers that are banned when they come to the service that turns them away there. They have addresses of their own
/// for each depth: what the kernel drops, it drops for all services there are.
#[must_use]
pub(super) const fn bots(bans: Bans) -> Crowd {
    let number = match bans {
        Bans::Handler => 0,
        Bans::Deny => 1,
        Bans::Drop => 2,
        Bans::Accept => 3,
        Bans::Kernel => 4,
    };
    Crowd::new([198, 19, 8 + number, 1], 100)
}

/// Where the service listens, and the other end of the cable.
#[cfg(target_os = "linux")]
const NEAR: &str = "198.18.0.1";
#[cfg(target_os = "linux")]
const FAR: &str = "198.18.0.2";
/// Where everybody above lives.
#[cfg(target_os = "linux")]
const WORLD: &str = "198.19.0.0/16";

/// Where the experiment takes place.
#[derive(Debug)]
pub(super) enum Ground {
    /// Two network namespaces.
    #[cfg(target_os = "linux")]
    Apart(Box<linux::Cable>),
    /// One machine, for this reason.
    Together(String),
}

impl Ground {
    /// Two namespaces, if that can be.
    pub(super) async fn prepare() -> Self {
        #[cfg(target_os = "linux")]
        {
            match linux::Cable::lay().await {
                Ok(cable) => Self::Apart(Box::new(cable)),
                Err(reason) => Self::Together(format!("{reason:#}")),
            }
        }
        #[cfg(not(target_os = "linux"))]
        Self::Together("network namespaces are Linux's".to_owned())
    }

    /// Why a banned client cannot be turned away there; none if it can.
    pub(super) fn lacks(&self, bans: Bans) -> Option<String> {
        match (self, bans) {
            (_, Bans::Handler | Bans::Deny) => None,
            // A proxy's connection carries others, too: nothing closes that for one client's sake.
            (Self::Together(reason), Bans::Drop | Bans::Accept | Bans::Kernel) => {
                Some(reason.clone())
            }
            #[cfg(target_os = "linux")]
            (Self::Apart(_), Bans::Drop | Bans::Accept) => None,
            #[cfg(target_os = "linux")]
            (Self::Apart(cable), Bans::Kernel) => cable.no_nftables.clone(),
        }
    }

    /// How the service learns who is calling.
    pub(super) const fn way(&self) -> Way {
        match self {
            #[cfg(target_os = "linux")]
            Self::Apart(_) => Way::Direct,
            Self::Together(_) => Way::Named,
        }
    }

    /// Where the service listens.
    pub(super) const fn address(&self) -> &'static str {
        match self {
            #[cfg(target_os = "linux")]
            Self::Apart(_) => NEAR,
            Self::Together(_) => "127.0.0.1",
        }
    }

    /// The words before the command that starts the service, so that it runs where it should.
    pub(super) fn service_runs(&self) -> Vec<String> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Apart(cable) => cable.in_the_shop(),
            Self::Together(_) => Vec::new(),
        }
    }

    /// Runs `work` where the clients are: in a thread of its own, on a runtime of its own.
    ///
    /// # Errors
    ///
    /// The thread could not get there, or panicked.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it leaves the thread to end by itself: what it does is bounded.
    pub(super) async fn clients<T, F>(&self, work: F) -> anyhow::Result<T>
    where
        T: Send + 'static,
        F: AsyncFnOnce() -> T + Send + 'static,
    {
        let (tell, told) = oneshot::channel();
        let enter = self.entrance()?;
        thread::Builder::new()
            .name("clients".to_owned())
            .spawn(move || {
                let done = enter().and_then(|()| {
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .enable_all()
                        .build()?;
                    Ok(runtime.block_on(work()))
                });
                // Nobody waits any more if the experiment was interrupted.
                let _ = tell.send(done);
            })?;
        told.await?
    }

    /// Moves the thread that calls it to where the clients are.
    fn entrance(&self) -> anyhow::Result<impl FnOnce() -> anyhow::Result<()> + Send + 'static> {
        #[cfg(target_os = "linux")]
        {
            let door = match self {
                Self::Apart(cable) => Some(cable.door()?),
                Self::Together(_) => None,
            };
            Ok(move || match door {
                Some(door) => linux::enter(&door),
                None => Ok(()),
            })
        }
        #[cfg(not(target_os = "linux"))]
        Ok(|| Ok(()))
    }
}

/// How long any of the programs that prepare the ground may take.
#[cfg(target_os = "linux")]
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(target_os = "linux")]
mod linux {
    use std::{fs::File, path::PathBuf, process::Stdio};

    use anyhow::{Context, anyhow, bail, ensure};
    use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
    use tokio::{
        process::{Child, ChildStdin, Command},
        time::{sleep, timeout},
    };

    use super::{FAR, NEAR, PATIENCE, WORLD};

    /// A namespace for the service and one for everybody else, joined.
    #[derive(Debug)]
    pub(crate) struct Cable {
        shop: Namespace,
        world: Namespace,
        /// Why the kernel cannot be told whom to drop.
        pub(super) no_nftables: Option<String>,
    }

    impl Cable {
        /// Both namespaces, with addresses and routes.
        pub(super) async fn lay() -> anyhow::Result<Self> {
            let (shop, world) = (Namespace::new().await?, Namespace::new().await?);
            let far = world.id.to_string();
            let add = ["link", "add", "near", "type", "veth", "peer", "name", "far"];
            shop.ip(&[&add[..], &["netns", &far]].concat()).await?;
            for (namespace, end, address) in [(&shop, "near", NEAR), (&world, "far", FAR)] {
                let address = format!("{address}/24");
                for words in [
                    ["link", "set", "lo", "up"].as_slice(),
                    &["addr", "add", &address, "dev", end],
                    &["link", "set", end, "up"],
                ] {
                    namespace.ip(words).await?;
                }
            }
            // All of these addresses are the clients', without each being set on an interface.
            world
                .ip(&["route", "add", "local", WORLD, "dev", "lo"])
                .await?;
            shop.ip(&["route", "add", WORLD, "via", FAR]).await?;
            let tables = shop.run(&["nft", "list", "tables"]).await;
            Ok(Self {
                no_nftables: tables.err().map(|error| format!("{error:#}")),
                shop,
                world,
            })
        }

        pub(super) fn in_the_shop(&self) -> Vec<String> {
            self.shop.inside()
        }

        /// The way to where the clients are.
        pub(super) fn door(&self) -> anyhow::Result<File> {
            Ok(File::open(self.world.link())?)
        }
    }

    /// Moves this thread there.
    pub(super) fn enter(door: &File) -> anyhow::Result<()> {
        use std::os::fd::AsFd;
        move_into_link_name_space(door.as_fd(), Some(LinkNameSpaceType::Network))
            .context("cannot enter the network namespace")
    }

    /// A network namespace, which ends with the process that is in it, and that with this one, however it ends.
    #[derive(Debug)]
    struct Namespace {
        id: u32,
        // Held for their drop: the one kills it, and it ends when the other closes.
        _process: Child,
        _stdin: ChildStdin,
    }

    impl Namespace {
        async fn new() -> anyhow::Result<Self> {
            let mut process = Command::new("unshare")
                .args(["--net", "cat"])
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .kill_on_drop(true)
                .spawn()
                .map_err(|_| anyhow!("no program `unshare`"))?;
            let id = process.id().context("`unshare` ended")?;
            let stdin = process.stdin.take().context("no pipe")?;
            let namespace = Self {
                id,
                _process: process,
                _stdin: stdin,
            };
            timeout(PATIENCE, namespace.apart())
                .await
                .context("no network namespace in time")??;
            Ok(namespace)
        }

        fn link(&self) -> PathBuf {
            format!("/proc/{}/ns/net", self.id).into()
        }

        /// Until it is, what is done in there would be done here.
        async fn apart(&self) -> anyhow::Result<()> {
            let ours = std::fs::read_link("/proc/self/ns/net")?;
            loop {
                // It has ended if there is no link any more.
                let Ok(theirs) = std::fs::read_link(self.link()) else {
                    bail!(
                        "no right to make a network namespace (`unshare --map-root-user` before the command may give it)"
                    );
                };
                if theirs != ours {
                    return Ok(());
                }
                sleep(std::time::Duration::from_millis(1)).await;
            }
        }

        /// The words before a command that is to run in there.
        fn inside(&self) -> Vec<String> {
            let id = self.id.to_string();
            ["nsenter", "--net", "--target", &id]
                .map(str::to_owned)
                .to_vec()
        }

        async fn ip(&self, words: &[&str]) -> anyhow::Result<()> {
            self.run(&[&["ip"], words].concat()).await
        }

        async fn run(&self, words: &[&str]) -> anyhow::Result<()> {
            let line = words.join(" ");
            let mut command = self.inside().into_iter();
            let running = Command::new(command.next().unwrap_or_default())
                .args(command)
                .args(words)
                .stdin(Stdio::null())
                .kill_on_drop(true)
                .output();
            let output = timeout(PATIENCE, running)
                .await
                .with_context(|| format!("`{line}` did not end"))?
                .map_err(|_| anyhow!("no program `nsenter`"))?;
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "`{line}`: {}", said.trim());
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use clap::ValueEnum;

    use super::*;

    #[test]
    fn everybody_lives_where_the_route_goes_and_no_two_are_the_same() {
        let crowds = [CUSTOMERS, ANALYSTS, ATTACKER, STRANGERS].into_iter();
        let bots = Bans::value_variants().iter().map(|bans| bots(*bans));
        let all: Vec<Ipv4Addr> = crowds.chain(bots).flat_map(Crowd::members).collect();
        assert!(all.iter().all(|address| address.octets()[..2] == [198, 19]));
        let mut distinct = all.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), all.len());
    }

    #[tokio::test]
    async fn on_one_machine_what_knows_only_peers_cannot_be_shown() {
        let ground = Ground::Together("why".to_owned());
        for bans in [Bans::Handler, Bans::Deny] {
            assert_eq!(ground.lacks(bans), None);
        }
        for bans in [Bans::Drop, Bans::Accept, Bans::Kernel] {
            assert_eq!(ground.lacks(bans).as_deref(), Some("why"));
        }
        assert_eq!(ground.clients(async || 7).await.unwrap(), 7);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn in_a_namespace_of_its_own_a_client_has_any_address_of_the_world() {
        use tokio::net::TcpListener;

        let ground = Ground::prepare().await;
        let Ground::Apart(_) = &ground else {
            eprintln!("not run: {}", ground.lacks(Bans::Accept).unwrap());
            return;
        };
        // It is not here.
        let here = TcpListener::bind((CUSTOMERS.member(7), 0)).await;
        assert!(here.is_err());
        let there = ground
            .clients(async || {
                let listener = TcpListener::bind((CUSTOMERS.member(7), 0)).await;
                listener.map(|listener| listener.local_addr().unwrap().ip())
            })
            .await
            .unwrap();
        assert_eq!(there.unwrap(), CUSTOMERS.member(7));
    }
}
