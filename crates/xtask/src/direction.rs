//! Which crate may depend on which: `core <- http <- layers <- fusebox`, never up, never sideways.
//!
//! Cargo refuses cycles and nothing else; a layer that reaches into its neighbour compiles. This table is what keeps
//! the five layers separable. A crate that is not in it has no place yet, and that is a failure too.

use std::collections::BTreeSet;

use crate::workspace::Package;

/// One library and the libraries it may build on.
struct Place {
    name: &'static str,
    may_use: &'static [&'static str],
}

const fn place(name: &'static str, may_use: &'static [&'static str]) -> Place {
    Place { name, may_use }
}

const CORE: &str = "fusebox-core";
const HTTP: &str = "fusebox-http";
const RATE_LIMIT: &str = "fusebox-rate-limit";
const CIRCUIT_BREAKER: &str = "fusebox-circuit-breaker";
const BULKHEAD: &str = "fusebox-bulkhead";
const BLACKHOLE: &str = "fusebox-blackhole";
const WAF: &str = "fusebox-waf";
const SECLANG: &str = "fusebox-seclang";
const REDIS: &str = "fusebox-redis";
const PANEL: &str = "fusebox-panel";
const TESTKIT: &str = "fusebox-testkit";
const FUSEBOX: &str = "fusebox";

/// What the name of an example begins with that others build on.
const EXAMPLE: &str = "fusebox-example-";

/// From the ground up.
const PLACES: &[Place] = &[
    place(CORE, &[]),
    place(SECLANG, &[]),
    place(HTTP, &[CORE]),
    place(TESTKIT, &[CORE, HTTP]),
    place(RATE_LIMIT, &[CORE, HTTP]),
    place(CIRCUIT_BREAKER, &[CORE, HTTP]),
    place(BULKHEAD, &[CORE, HTTP]),
    place(BLACKHOLE, &[CORE, HTTP]),
    place(WAF, &[CORE, HTTP, SECLANG]),
    // For the traits of their stores.
    place(REDIS, &[CORE, RATE_LIMIT, BLACKHOLE]),
    place(PANEL, &[CORE]),
    place(
        FUSEBOX,
        &[
            CORE,
            HTTP,
            RATE_LIMIT,
            CIRCUIT_BREAKER,
            BULKHEAD,
            BLACKHOLE,
            WAF,
            REDIS,
            PANEL,
        ],
    ),
];

/// Every dependency that goes the wrong way, and every library without a place, as a sentence each.
pub(crate) fn violations(packages: &[Package]) -> Vec<String> {
    packages.iter().flat_map(violations_of).collect()
}

fn violations_of(package: &Package) -> Vec<String> {
    let members = package
        .dependencies
        .iter()
        .filter(|dependency| dependency.name != package.name);
    if !package.is_library() {
        // The programs at the edge (examples, benches, tests) may use every library, and an example may build on
        // another one. The one exception is this one: it must compile when the libraries do not.
        let is_xtask = package.name == "xtask";
        let is_example = package.folder.starts_with("examples");
        return members
            .filter(|dependency| {
                let may_use = place_of(&dependency.name).is_some()
                    || is_example && dependency.name.starts_with(EXAMPLE);
                is_xtask || !may_use
            })
            .map(|dependency| against(package, &dependency.name))
            .collect();
    }
    let Some(place) = place_of(&package.name) else {
        return vec![format!(
            "{} has no place in the order of the crates: add it to the table in direction.rs",
            package.name
        )];
    };
    let allowed: BTreeSet<&str> = place.may_use.iter().copied().collect();
    members
        .filter(|dependency| {
            let is_test_help = dependency.only_in_tests && dependency.name == TESTKIT;
            !is_test_help && !allowed.contains(dependency.name.as_str())
        })
        .map(|dependency| against(package, &dependency.name))
        .collect()
}

fn place_of(name: &str) -> Option<&'static Place> {
    PLACES.iter().find(|place| place.name == name)
}

fn against(package: &Package, dependency: &str) -> String {
    format!("{} must not depend on {dependency}", package.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Dependency;
    use std::path::PathBuf;

    fn package(folder: &str, uses: &[&str], tests_use: &[&str]) -> Package {
        let folder = PathBuf::from(folder);
        let dependency = |only_in_tests| {
            move |name: &&str| Dependency {
                name: (*name).to_owned(),
                only_in_tests,
            }
        };
        Package {
            name: folder.file_name().unwrap().to_str().unwrap().to_owned(),
            folder,
            features: Vec::new(),
            dependencies: uses
                .iter()
                .map(dependency(false))
                .chain(tests_use.iter().map(dependency(true)))
                .collect(),
        }
    }

    fn violations_in(folder: &str, uses: &[&str], tests_use: &[&str]) -> usize {
        violations(&[package(folder, uses, tests_use)]).len()
    }

    #[test]
    fn the_order_of_the_house_stands() {
        for (folder, uses) in [
            ("crates/fusebox-core", &[][..]),
            ("crates/fusebox-http", &[CORE]),
            ("crates/fusebox-bulkhead", &[CORE, HTTP]),
            ("crates/fusebox-waf", &[CORE, HTTP, SECLANG]),
            ("crates/fusebox", &[CORE, HTTP, BULKHEAD, WAF]),
            ("examples/storefront", &[FUSEBOX, BULKHEAD]),
            ("examples/storefront", &["fusebox-example-grpc"]),
        ] {
            assert_eq!(violations_in(folder, uses, &[]), 0, "{folder}");
        }
    }

    #[test]
    fn no_crate_reaches_up() {
        assert_eq!(violations_in("crates/fusebox-core", &[HTTP], &[]), 1);
        assert_eq!(violations_in("crates/fusebox-http", &[BULKHEAD], &[]), 1);
        assert_eq!(violations_in("crates/fusebox-bulkhead", &[FUSEBOX], &[]), 1);
    }

    #[test]
    fn no_layer_reaches_sideways_not_even_in_its_tests() {
        let layer = "crates/fusebox-bulkhead";
        assert_eq!(violations_in(layer, &[RATE_LIMIT], &[]), 1);
        assert_eq!(violations_in(layer, &[], &[RATE_LIMIT]), 1);
        assert_eq!(violations_in(layer, &[SECLANG], &[]), 1);
    }

    #[test]
    fn the_test_kit_is_for_tests_alone() {
        let layer = "crates/fusebox-bulkhead";
        assert_eq!(violations_in(layer, &[], &[TESTKIT]), 0);
        assert_eq!(violations_in(layer, &[TESTKIT], &[]), 1);
    }

    #[test]
    fn a_library_without_a_place_is_a_violation() {
        assert_eq!(violations_in("crates/fusebox-surprise", &[], &[]), 1);
    }

    #[test]
    fn nothing_depends_on_a_program() {
        assert_eq!(violations_in("tests", &["storefront"], &[]), 1);
        assert_eq!(violations_in("tests", &["fusebox-example-grpc"], &[]), 1);
        assert_eq!(violations_in("crates/fusebox", &["xtask"], &[]), 1);
    }

    #[test]
    fn the_builder_of_the_house_does_not_live_in_it() {
        assert_eq!(violations_in("crates/xtask", &[CORE], &[]), 1);
    }
}
