#![doc = include_str!("../REFERENCE.md")]
#![expect(
    clippy::doc_markdown,
    reason = "the reasons are those of the errors, word for word"
)]

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::path::PathBuf;

    use crate::{BlockLists, GeoDatabase, GeoField, Ruleset, RulesetBuilder, Transformation};

    /// The page, which is also the list of what is tried here.
    const PAGE: &str = include_str!("../REFERENCE.md");

    #[derive(Debug)]
    struct Nothing;

    impl BlockLists for Nothing {
        fn is_listed(&self, _: &str, _: &str) -> bool {
            false
        }
    }

    impl GeoDatabase for Nothing {
        fn locate(&self, _: IpAddr, _: &mut dyn FnMut(GeoField, &str)) -> bool {
            false
        }
    }

    struct Row {
        section: &'static str,
        name: &'static str,
        status: &'static str,
        note: &'static str,
    }

    fn rows() -> Vec<Row> {
        let mut section = "";
        let mut rows = Vec::new();
        for line in PAGE.lines() {
            if let Some(title) = line.strip_prefix("# ") {
                section = title;
            }
            let cells: Vec<&str> = line.split(" | ").map(str::trim).collect();
            if let [name, status, note] = cells.as_slice()
                && let Some(name) = name.strip_prefix("| `")
            {
                rows.push(Row {
                    section,
                    name: name.trim_end_matches('`'),
                    status,
                    note: note.trim_end_matches('|').trim(),
                });
            }
        }
        rows
    }

    fn file(name: &str, text: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("fusebox-{}-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        path
    }

    fn directive(name: &str) -> String {
        let included = file("included.conf", "");
        let rule = "SecRule ARGS x \"id:1,tag:a,msg:m\"\n";
        let arguments = match name {
            "Include" | "IncludeOptional" => format!("{}", included.display()),
            "SecAction" => "\"id:1\"".to_owned(),
            "SecArgumentSeparator" => ";".to_owned(),
            "SecArgumentsLimit" | "SecCollectionTimeout" | "SecUploadFileLimit" => "10".to_owned(),
            "SecAuditEngine" => "RelevantOnly".to_owned(),
            "SecAuditLogParts" => "ABZ".to_owned(),
            "SecConnEngine" | "SecXmlExternalEntity" | "SecParseXmlIntoArgs" => "Off".to_owned(),
            "SecCookieFormat" => "0".to_owned(),
            "SecDefaultAction" => "\"phase:1,pass\"".to_owned(),
            "SecRequestBodyAccess" | "SecResponseBodyAccess" | "SecRuleEngine" => "On".to_owned(),
            "SecRequestBodyLimitAction" | "SecResponseBodyLimitAction" => "Reject".to_owned(),
            "SecResponseBodyMimeTypesClear" => String::new(),
            "SecRule" => "ARGS x \"id:1\"".to_owned(),
            "SecRuleRemoveById" => "1".to_owned(),
            "SecRuleUpdateActionById" => "1 \"nolog\"".to_owned(),
            "SecRuleUpdateTargetById" => "1 \"!ARGS:a\"".to_owned(),
            "SecRuleUpdateTargetByMsg" | "SecRuleUpdateTargetByTag" => "x \"!ARGS:a\"".to_owned(),
            "SecUnicodeMapFile" => "unicode.mapping 20127".to_owned(),
            "SecUnicodeCodePage" => "20127".to_owned(),
            name if name.ends_with("Limit") && name.contains("Body") => "1000".to_owned(),
            _ => "x".to_owned(),
        };
        let updates = name.starts_with("SecRuleUpdate") || name.starts_with("SecRuleRemove");
        format!("{}{name} {arguments}", if updates { rule } else { "" })
    }

    fn rule(section: &str, name: &str) -> String {
        let file = file("list.data", "192.0.2.1\n");
        match section {
            "Variables" => match name {
                "XML" => "SecRule XML:/* x \"id:1\"".to_owned(),
                "RULE" => "SecRule RULE:id x \"id:1\"".to_owned(),
                name if name.starts_with("MATCHED_VAR") => {
                    format!("SecRule ARGS x \"id:1,chain\"\nSecRule {name} x")
                }
                _ => format!("SecRule {name} x \"id:1\""),
            },
            "Operators" => {
                let argument = match name {
                    "ipMatch" => "192.0.2.0/24".to_owned(),
                    "ipMatchF" | "ipMatchFromFile" | "pmf" | "pmFromFile" => {
                        file.display().to_string()
                    }
                    "validateByteRange" => "1-255".to_owned(),
                    _ => "1".to_owned(),
                };
                format!("SecRule ARGS \"@{name} {argument}\" \"id:1\"")
            }
            "Transformations" => format!("SecRule ARGS x \"id:1,t:{name}\""),
            "Actions" => {
                let value = match name {
                    "accuracy" | "maturity" | "severity" | "skip" | "phase" => ":1",
                    "ctl" => ":auditEngine=On",
                    "expirevar" => ":ip.a=1",
                    "initcol" => ":ip=x",
                    "setvar" => ":tx.a=1",
                    "status" => ":403",
                    "t" => ":none",
                    "logdata" | "msg" | "redirect" | "rev" | "tag" | "ver" => ":x",
                    "skipAfter" => ":END",
                    _ => "",
                };
                let id = if name == "id" { "id:1" } else { "id:1," };
                let own = if name == "id" { "" } else { name };
                let chained = if name == "chain" {
                    "SecRule ARGS x"
                } else {
                    ""
                };
                format!("SecRule ARGS x \"{id}{own}{value}\"\n{chained}\nSecMarker END")
            }
            _ => {
                let value = match name {
                    "auditLogParts" => "+E",
                    "requestBodyProcessor" => "JSON",
                    "ruleRemoveById" => "1",
                    "ruleRemoveByMsg" | "ruleRemoveByTag" => "x",
                    "ruleRemoveTargetById" | "ruleRemoveTargetByMsg" | "ruleRemoveTargetByTag" => {
                        "1;ARGS:a"
                    }
                    _ => "On",
                };
                format!("SecRule ARGS x \"id:1,ctl:{name}={value}\"")
            }
        }
    }

    fn given() -> RulesetBuilder {
        Ruleset::builder()
            .block_lists(Nothing)
            .geo_database(Nothing)
    }

    #[test]
    fn every_name_of_the_page_is_what_the_page_says() {
        let rows = rows();
        assert!(rows.len() > 300, "the page is gone: {} rows", rows.len());
        for Row {
            section,
            name,
            status,
            note,
        } in rows
        {
            let text = match section {
                "Directives" => directive(name),
                _ => rule(section, name),
            };
            let built = given().text("r", &text).build();
            match (status, &built) {
                ("yes", Ok(rules)) => assert_eq!(rules.without_effect().count(), 0, "{text}"),
                ("no effect", Ok(rules)) => {
                    assert_eq!(rules.without_effect().collect::<Vec<_>>(), [name], "{text}");
                }
                ("refused", Err(error)) => {
                    let shown = error.to_string();
                    assert!(
                        shown.starts_with("r:") && shown.contains(name),
                        "{text}: {error}"
                    );
                    assert!(shown.ends_with(note), "{shown:?} and not {note:?}");
                }
                _ => panic!("{section}: {name} is not {status:?}: {:?}", built.err()),
            }
        }
    }

    #[test]
    fn every_name_that_is_known_is_on_the_page() {
        let rows = rows();
        let is_there = |section: &str, name: &str| {
            let found = rows
                .iter()
                .any(|row| row.section == section && row.name.eq_ignore_ascii_case(name));
            assert!(found, "{section}: {name}");
        };
        for (section, names) in crate::parse::known_names() {
            names.iter().for_each(|name| is_there(section, name));
        }
        for transformation in Transformation::ALL {
            is_there("Transformations", transformation.name());
        }
    }
}
