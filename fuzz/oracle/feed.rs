//! What must be true of a published list, whatever is in the file. The first byte selects the format.

use std::net::IpAddr;

use fusebox_blackhole::engine::{FeedError, FeedFormat, FeedLimits, Lists, Network, Never, parse};

/// Few, so that the limit is met.
const MOST: usize = 64;
const BEFORE: usize = 60;

pub(crate) fn check(data: &[u8]) {
    let Some((selector, feed)) = data.split_first() else {
        return;
    };
    let format = match selector % 3 {
        0 => FeedFormat::SpamhausDrop,
        1 => FeedFormat::FireHol,
        _ => FeedFormat::Plain,
    };
    let never = Never::new([
        "198.51.100.0/24".parse().unwrap(),
        "2001:db8:5::/48".parse().unwrap(),
    ]);
    let limits = FeedLimits {
        most: MOST,
        ..FeedLimits::default()
    };
    let read = |feed: &[u8], before| parse(feed, format, &limits, &never, before);
    let lines = feed.iter().filter(|byte| **byte == b'\n').count() + 1;
    match read(feed, None) {
        Ok(networks) => {
            assert!((1..=MOST).contains(&networks.len()));
            what_is_taken_is_no_danger(&networks, &never);
            what_was_read_is_found(&networks);
            // Written as blocks again, a line each, it is the same list.
            let text: String = networks
                .iter()
                .map(|network| format!("{network}\n"))
                .collect();
            assert_eq!(read(text.as_bytes(), None).unwrap(), networks);
            match read(feed, Some(BEFORE)) {
                Ok(_) => assert!(networks.len() * 2 >= BEFORE),
                Err(FeedError::Collapsed { before, now }) => {
                    assert_eq!((before, now), (BEFORE, networks.len()));
                    assert!(networks.len() * 2 < BEFORE);
                }
                Err(other) => panic!("{other}"),
            }
        }
        Err(FeedError::Line { line, .. }) => {
            assert!((1..=lines).contains(&line));
            // The lines before it were right, so it is the first that is wrong.
            let before: Vec<&[u8]> = feed.split(|byte| *byte == b'\n').take(line - 1).collect();
            let again = read(&before.join(&b'\n'), None);
            assert!(!matches!(again, Err(FeedError::Line { .. })), "{again:?}");
        }
        Err(FeedError::TooMuch { of, percent, most }) => {
            assert!(percent > most.into());
            // The widest block that is taken, in all lines.
            let widest = if of == "IPv4" { 100 } else { 13 };
            assert!(percent <= widest * MOST as u64);
        }
        Err(FeedError::TooMany { most }) => assert!(most == MOST && lines > MOST),
        Err(FeedError::TooFew {
            records: 0,
            least: 1,
        }) => {}
        Err(FeedError::CutOff | FeedError::Incomplete { .. }) => {
            assert_eq!(
                format,
                FeedFormat::SpamhausDrop,
                "no other format counts its records"
            );
        }
        Err(other) => panic!("{other}"),
    }
}

fn what_is_taken_is_no_danger(networks: &[Network], never: &Never) {
    for address in [
        "198.51.100.7",
        "2001:db8:5:1::1",
        "127.0.0.1",
        "::1",
        "10.0.0.1",
        "192.168.1.1",
        "fe80::1",
        "fd00::1",
        "100.64.0.1",
    ] {
        let address: IpAddr = address.parse().unwrap();
        assert!(
            !networks.iter().any(|network| network.contains(address)),
            "{address}"
        );
    }
    assert!(
        !networks
            .iter()
            .any(|network| never.forbids_in_a_list(*network))
    );
}

/// The longest prefix, against comparing them one by one.
fn what_was_read_is_found(networks: &[Network]) {
    let numbered = || networks.iter().zip(0_u8..);
    let lists = Lists::new(numbered().map(|(network, number)| (*network, number)), 7);
    for network in networks {
        let (first, last) = network.ends();
        for address in [first, last] {
            let naive = numbered()
                .filter(|(network, _)| network.contains(address))
                .max_by_key(|(network, number)| (network.prefix(), std::cmp::Reverse(*number)));
            assert_eq!(lists.find(address), naive.map(|(_, number)| number));
        }
    }
}
