//! The Core Rule Set, loaded by each engine once per process.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use fusebox_seclang::Ruleset;
use zentinel_modsec::ModSecurity;

/// Beside the repository, as `cargo xtask crs` looks for it.
const BESIDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/crs");

/// What ModSecurity's recommended configuration says about bodies, and that requests are blocked.
pub(super) const BASE: &str = r#"
SecRuleEngine On
SecRequestBodyAccess On
SecResponseBodyAccess On
SecResponseBodyMimeType text/plain text/html text/xml application/json
SecRequestBodyLimit 13107200
SecRequestBodyNoFilesLimit 131072
SecRequestBodyJsonDepthLimit 512
SecRequestBodyLimitAction Reject
SecResponseBodyLimit 524288
SecResponseBodyLimitAction ProcessPartial
SecArgumentSeparator &
SecRule REQUEST_HEADERS:Content-Type "^(?:application(?:/soap\+|/)|text/)xml" \
    "id:200000,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=XML"
SecRule REQUEST_HEADERS:Content-Type "^application/json" \
    "id:200001,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=JSON"
SecRule REQBODY_ERROR "!@eq 0" \
    "id:200002,phase:2,t:none,log,deny,status:400,msg:'Failed to parse request body.',severity:2"
SecRule MULTIPART_STRICT_ERROR "!@eq 0" \
    "id:200003,phase:2,t:none,log,deny,status:400,msg:'Multipart request body failed strict validation.'"
"#;

/// How much of the rule set is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paranoia {
    /// What a site starts with.
    One,
    /// Everything.
    Four,
}

impl Paranoia {
    pub(super) fn setup(self) -> String {
        let level = match self {
            Self::One => 1,
            Self::Four => 4,
        };
        format!(
            "SecAction \"id:900005,phase:1,nolog,pass,t:none,setvar:tx.blocking_paranoia_level={level},\
             setvar:tx.detection_paranoia_level={level}\"\n"
        )
    }
}

/// Where the rules are, or why nothing can be said without them.
pub(super) fn folder() -> Result<PathBuf, String> {
    let folder = env::var_os("FUSEBOX_CRS").map_or_else(|| PathBuf::from(BESIDE), PathBuf::from);
    if folder.join("rules").is_dir() {
        Ok(folder)
    } else {
        Err(
            "the Core Rule Set is not here: set FUSEBOX_CRS to a copy of github.com/coreruleset/coreruleset"
                .to_owned(),
        )
    }
}

/// Whether the rules are there: what every case of the suite needs.
pub(super) fn present() -> Result<(), String> {
    folder().map(|_folder| ())
}

/// Ours, loaded afresh.
pub(super) fn load(level: Paranoia) -> Ruleset {
    let folder = folder().unwrap_or_default();
    #[expect(
        clippy::expect_used,
        reason = "rules that cannot be loaded leave nothing to measure"
    )]
    Ruleset::builder()
        .text("base", BASE)
        .text("level", &level.setup())
        .crs(folder)
        .build()
        .expect("the Core Rule Set can be loaded")
}

/// Ours, loaded at the first use.
pub(super) fn ours(level: Paranoia) -> &'static Ruleset {
    static ONE: OnceLock<Ruleset> = OnceLock::new();
    static FOUR: OnceLock<Ruleset> = OnceLock::new();
    match level {
        Paranoia::One => ONE.get_or_init(|| load(level)),
        Paranoia::Four => FOUR.get_or_init(|| load(level)),
    }
}

/// Zentinel's, loaded at the first use.
pub(super) fn zentinel(level: Paranoia) -> &'static ModSecurity {
    static ONE: OnceLock<ModSecurity> = OnceLock::new();
    static FOUR: OnceLock<ModSecurity> = OnceLock::new();
    match level {
        Paranoia::One => ONE.get_or_init(|| load_zentinel(level)),
        Paranoia::Four => FOUR.get_or_init(|| load_zentinel(level)),
    }
}

/// The files of the Core Rule Set in their order, as absolute paths.
pub(super) fn files() -> Vec<PathBuf> {
    let folder = folder().unwrap_or_default();
    let own = folder.join("crs-setup.conf");
    let setup = if own.is_file() {
        own
    } else {
        folder.join("crs-setup.conf.example")
    };
    let mut files: Vec<_> = fs::read_dir(folder.join("rules"))
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ending| ending == "conf"))
        .collect();
    files.sort();
    files.insert(0, setup);
    // Its peers resolve what they include against folders of their own choice.
    for path in &mut files {
        if let Ok(absolute) = fs::canonicalize(&*path) {
            *path = absolute;
        }
    }
    files
}

fn load_zentinel(level: Paranoia) -> ModSecurity {
    let mut text = format!("{BASE}{}", level.setup());
    for path in files() {
        let _written = writeln!(text, "Include {}", path.display());
    }
    #[expect(
        clippy::expect_used,
        reason = "without its peer the suite has no purpose"
    )]
    ModSecurity::from_string(&text).expect("the Core Rule Set can be loaded by zentinel")
}
