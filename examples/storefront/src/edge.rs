//! What every request meets before the shop: the jail, its client's quota, the firewall.
//!
//! ```text
//! accept ── gate: banned peers and crowds from one address never get as far as HTTP
//!   └─ BlackholeLayer   who is it, and is it banned?
//!       └─ RateLimitLayer    has it asked too often?        health checks go past
//!           └─ WafLayer          is this an attack?          the rest of these two
//!               └─ the shop's routes
//! ```
//!
//! What the two inner layers refuse is a strike in the outer one: five in ten minutes, and the client is banned for
//! ten. The rate limit stands before the firewall because a look at a table costs less than an inspection.

use std::path::PathBuf;

use anyhow::Context;
use axum::Router;
use fusebox_blackhole::{
    Action, BlackholeConfig, BlackholeLayer, FeedConfig, Gate, GateConfig, Jail, JailConfig, Traps,
};
use fusebox_core::{Mode, Registration, Registry};
use fusebox_http::identity::{IdentityConfig, IdentityResolver};
use fusebox_rate_limit::{KeyBy, Policy, Quota, QuotaHeaders, RateLimitLayer, RateLimiter};
use fusebox_waf::{OverLimit, Ruleset, WafLayer};

#[cfg(target_os = "linux")]
use fusebox_blackhole::nftables::{Mirror, NftConfig};

/// What one client may ask for in a second, and at once. A person with a browser is far below; a program that is not
/// is told when to come back.
pub const QUOTA: (u64, u64) = (20, 40);

/// Connections that one client may have open. A browser has six, an office behind one address some dozens.
const CONNECTIONS: u32 = 100;

/// More than anything that the shop reads: what is longer is refused before the firewall has held it.
const LARGEST_BODY: usize = 64 * 1024;

/// Answers at the same address whatever is going on, for those who watch over the shop.
pub(crate) const HEALTH: &str = "/healthz";

/// How the shop meets the world.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EdgeSettings {
    /// The networks of the shop's own reverse proxies: they may say in `X-Forwarded-For` whom they speak for, and
    /// are never banned. Without any, the peer is the client.
    pub trusted_proxies: Vec<String>,
    /// Where the OWASP Core Rule Set is, to be used instead of the firewall's own rules.
    pub crs: Option<PathBuf>,
    /// How far a banned client gets.
    pub bans: Bans,
    /// Files with published lists of addresses that are banned for as long as they are listed; read again when they
    /// change.
    pub block_lists: Vec<PathBuf>,
    /// The file in which sentences outlive the shop.
    pub sentences: Option<PathBuf>,
}

/// How far a banned client gets. Each is cheaper for the shop than the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Bans {
    /// Through everything: the payments' handler asks the jail and answers 403, as it would without the layer.
    Handler,
    /// To the first layer, which answers 403.
    Deny,
    /// There too, and the connection is closed without an answer.
    Drop,
    /// The connection is closed as soon as it was accepted. Behind a proxy, whose connection that would be, 403.
    #[default]
    Accept,
    /// The kernel drops its packets (nftables; Linux, with the right to do so).
    Kernel,
}

impl std::fmt::Display for Bans {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Handler => "handler",
            Self::Deny => "deny",
            Self::Drop => "drop",
            Self::Accept => "accept",
            Self::Kernel => "kernel",
        })
    }
}

impl Bans {
    /// What the layer does with a banned client's request.
    const fn action(self, behind_a_proxy: bool) -> Action {
        match self {
            Self::Handler | Self::Deny => Action::Deny,
            Self::Drop => Action::Drop,
            // What would be closed is the proxy's connection, with the requests of others on it.
            Self::Accept | Self::Kernel if behind_a_proxy => Action::Deny,
            Self::Accept | Self::Kernel => Action::Drop,
        }
    }
}

/// All of it, with the handles to read and steer it by.
#[derive(Debug)]
pub struct Edge {
    jail: Jail,
    gate: Gate,
    blackhole: BlackholeLayer,
    limit: RateLimitLayer,
    rules: Ruleset,
    #[cfg(target_os = "linux")]
    mirror: Option<Mirror>,
}

impl Edge {
    /// The layers, listed in `registry`.
    ///
    /// # Errors
    ///
    /// A trusted proxy is no network, a list, the sentences or the Core Rule Set cannot be read, or the kernel cannot be
    /// told.
    pub async fn build(settings: &EdgeSettings, registry: &Registry) -> anyhow::Result<Self> {
        let clients = clients(&settings.trusted_proxies)?;
        let listed = || Registration::In(registry.clone());

        let mut jail = JailConfig::new("shop")
            .trusted_proxies(settings.trusted_proxies.iter().cloned())
            .mode(match settings.bans {
                // It knows who is banned, and leaves it to the handler.
                Bans::Handler => Mode::Shadow,
                _ => Mode::Enforce,
            })
            .registration(listed());
        for path in &settings.block_lists {
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            jail = jail.feed(FeedConfig::new(name.into_owned(), path));
        }
        if let Some(path) = &settings.sentences {
            jail = jail.file(path);
        }
        let jail = jail.build()?;
        // Reads lists again, saves sentences. Ends with the jail.
        tokio::spawn(jail.caretaker());
        let blackhole = BlackholeConfig::new(&jail)
            .identity(clients.clone())
            .action(settings.bans.action(!settings.trusted_proxies.is_empty()))
            .traps(Traps::common())
            .build()?;

        // Where banned clients are to get as far as a request, the gate knows of none.
        let held_at_the_gate = match settings.bans {
            Bans::Accept | Bans::Kernel => jail.clone(),
            Bans::Handler | Bans::Deny | Bans::Drop => JailConfig::new("nobody")
                .capacity(1)
                .trusted_proxies(settings.trusted_proxies.iter().cloned())
                .registration(Registration::Unlisted)
                .build()?,
        };
        let gate = GateConfig::new(&held_at_the_gate)
            .connections_per_client(CONNECTIONS)
            .build()?;

        let (rate, burst) = QUOTA;
        let limit = RateLimiter::builder("clients")
            .policy(Policy::new(
                "requests",
                Quota::per_second(rate).burst(burst),
            ))
            .registration(listed())
            .build()?
            .layer()
            .keyed_by(KeyBy::Client(clients.clone()))
            .quota_headers(QuotaHeaders::Draft11)
            .exempt_if(|head| head.uri.path() == HEALTH);

        let rules = match &settings.crs {
            Some(folder) => Ruleset::builder("crs").crs(folder),
            None => Ruleset::builder("core").core(),
        };
        let rules = rules
            .clients(clients)
            .request_body(LARGEST_BODY, OverLimit::Refuse)
            .registration(listed())
            .build()
            .context("the firewall's rules")?;

        #[cfg(not(target_os = "linux"))]
        anyhow::ensure!(
            settings.bans != Bans::Kernel,
            "bans in the kernel need Linux"
        );
        #[cfg(target_os = "linux")]
        let mirror = match settings.bans {
            Bans::Kernel => Some(
                NftConfig::new()
                    .table("storefront")
                    .every(MIRROR_EVERY)
                    .start(&jail)
                    .await
                    .context("bans in the kernel")?,
            ),
            _ => None,
        };
        Ok(Self {
            jail,
            gate,
            blackhole,
            limit,
            rules,
            #[cfg(target_os = "linux")]
            mirror,
        })
    }

    /// Puts the layers before `routes`, and those of them that hold nobody up before `health`.
    pub fn guard(&self, routes: Router, health: Router) -> Router {
        let routes = routes.layer(WafLayer::new(self.rules.clone()));
        self.guard_without_firewall(routes, health)
    }

    /// The same without the firewall, to measure what that costs.
    pub(crate) fn guard_without_firewall(&self, routes: Router, health: Router) -> Router {
        routes
            .merge(health)
            .layer(self.limit.clone())
            .layer(self.blackhole.clone())
    }

    /// Stands behind `accept`.
    pub fn gate(&self) -> Gate {
        self.gate.clone()
    }

    /// Who is banned.
    #[must_use]
    pub const fn jail(&self) -> &Jail {
        &self.jail
    }

    /// Requests that the firewall has stopped so far.
    pub(crate) fn stopped_by_firewall(&self) -> u64 {
        self.rules.stats().refused()
    }

    /// Saves who is banned, and takes back what the kernel was told.
    pub(crate) async fn close(self) {
        let jail = self.jail;
        // It writes a file.
        let saved = tokio::task::spawn_blocking(move || jail.save()).await;
        if let Err(error) = saved.unwrap_or_else(|error| Err(error.into())) {
            tracing::warn!("sentences since the last save are forgotten: {error}");
        }
        #[cfg(target_os = "linux")]
        if let Some(mirror) = self.mirror
            && let Err(error) = mirror.stop().await
        {
            tracing::warn!("the kernel still drops who was banned: {error}");
        }
    }
}

/// So soon after the last change the kernel knows of a ban.
#[cfg(target_os = "linux")]
const MIRROR_EVERY: std::time::Duration = std::time::Duration::from_millis(50);

/// How clients are told apart: one resolver for all layers, so that it is found out once for each request.
fn clients(trusted_proxies: &[String]) -> anyhow::Result<IdentityResolver> {
    if trusted_proxies.is_empty() {
        return Ok(IdentityResolver::peer_only());
    }
    Ok(IdentityConfig::new()
        .trusted_proxies(trusted_proxies.iter().cloned())
        .build()?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn edge(settings: &EdgeSettings) -> anyhow::Result<Edge> {
        Edge::build(settings, &Registry::new()).await
    }

    #[tokio::test]
    async fn a_ban_outlives_the_shop_where_it_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let settings = EdgeSettings {
            sentences: Some(directory.path().join("sentences")),
            ..EdgeSettings::default()
        };
        let banned = [198, 19, 0, 1].into();
        let before = edge(&settings).await.unwrap();
        before
            .jail()
            .ban(banned, Duration::from_secs(3_600))
            .unwrap();
        before.close().await;
        assert!(edge(&settings).await.unwrap().jail().holds(banned));
        let forgetful = EdgeSettings::default();
        assert!(!edge(&forgetful).await.unwrap().jail().holds(banned));
    }

    #[tokio::test]
    async fn who_is_listed_is_banned_and_a_list_that_cannot_be_read_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let list = directory.path().join("drop.txt");
        std::fs::write(&list, "192.0.2.0/24 # a bad neighbourhood\n").unwrap();
        let settings = EdgeSettings {
            block_lists: vec![list.clone()],
            ..EdgeSettings::default()
        };
        let listed = [192, 0, 2, 7].into();
        let sentence = edge(&settings).await.unwrap().jail().why(listed).unwrap();
        assert_eq!(sentence.reason.to_string(), "list drop");

        std::fs::write(&list, "192.0.2.0/24\nhello\n").unwrap();
        let error = edge(&settings).await.unwrap_err().to_string();
        assert!(
            error.contains("line 2") && error.contains("drop"),
            "{error}"
        );
    }

    #[test]
    fn a_proxys_connection_is_not_closed_unless_that_is_asked_for() {
        assert_eq!(Bans::Accept.action(true), Action::Deny);
        assert_eq!(Bans::Kernel.action(true), Action::Deny);
        assert_eq!(Bans::Accept.action(false), Action::Drop);
        assert_eq!(Bans::Drop.action(true), Action::Drop);
    }

    #[tokio::test]
    async fn what_is_no_network_is_told() {
        let settings = EdgeSettings {
            trusted_proxies: vec!["the load balancer".to_owned()],
            ..EdgeSettings::default()
        };
        let error = edge(&settings).await.unwrap_err();
        assert!(error.to_string().contains("trusted_proxies"), "{error}");
    }
}
