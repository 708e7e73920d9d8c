//! What hyper does with a request before a layer sees it, and why.

/// How a stage differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// The server refuses it, or closes the connection.
    Refused,
    /// The firewall sees another request than was sent.
    Changed,
}

/// Stages that differ for one reason.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) how: Expected,
    pub(super) reason: &'static str,
    stages: &'static [&'static str],
}

/// What is known of a stage.
pub(super) fn of(stage: &str) -> Option<&'static Answered> {
    ANSWERED.iter().find(|group| group.stages.contains(&stage))
}

const ANSWERED: &[Answered] = &[
    Answered {
        how: Expected::Refused,
        reason: "refused: < > or \" in the target as they are, which no URI has (RFC 3986, section 2)",
        stages: &[
            "921120-2",
            "921210-1",
            "930120-9",
            "930120-10",
            "930120-11",
            "932230-1",
            "932236-21",
            "932250-5",
            "932260-28",
            "932371-1",
            "934101-4",
            "934130-7",
            "941100-1",
            "941160-1",
            "941240-2",
            "942130-9",
            "942500-1",
            "942500-2",
            "943100-1",
            "949110-1",
            "949110-5",
            "921120-1",
        ],
    },
    Answered {
        how: Expected::Refused,
        reason: "refused: a version that hyper does not speak on this connection, or none",
        stages: &["920430-4", "920430-5", "920430-8"],
    },
    Answered {
        how: Expected::Changed,
        reason: "passed on: an empty Host or one with an encoded control character, which httpd refuses; rules may",
        stages: &["920270-4", "920274-1", "920290-1"],
    },
    Answered {
        how: Expected::Changed,
        reason: "passed on: a tunnel to a host without a port, which httpd refuses",
        stages: &["920100-5"],
    },
    Answered {
        how: Expected::Changed,
        reason: "passed on: two Content-Types, which httpd joins before the rule about two of them sees any",
        stages: &["920620-1"],
    },
    Answered {
        how: Expected::Changed,
        reason: "changed: a fragment is taken off the target, which httpd refuses",
        stages: &["920100-8"],
    },
    Answered {
        how: Expected::Changed,
        reason: "changed: a target without a path gets one, so that the request line is in order",
        stages: &["920100-16"],
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_stage_is_listed_twice() {
        let all = ANSWERED.iter().flat_map(|group| group.stages);
        let distinct: BTreeSet<_> = all.clone().collect();
        assert_eq!(distinct.len(), all.count());
    }
}
