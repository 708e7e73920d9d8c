//! Paths that only a scanner asks for.

use std::fmt;

/// A set of path patterns.
///
/// A pattern is a path (`/wp-login.php`), a beginning (`/phpmyadmin/*`) or an end (`*/.env`). Letters match whatever
/// their case. A path is compared as it was sent, without its query: percent-encoded spellings are other paths, and no
/// scanner hides from itself.
///
/// ```
/// use fusebox_blackhole::Traps;
///
/// let traps = Traps::new(["/wp-login.php", "*/.env"]).unwrap();
/// assert!(traps.catch("/WP-login.php") && traps.catch("/api/.env"));
/// assert!(!traps.catch("/wp-login.php5"));
/// ```
#[derive(Clone, Default)]
pub struct Traps {
    /// By length: few of any one length, so most paths are compared with nothing.
    exact: Vec<Vec<Box<[u8]>>>,
    beginnings: Vec<Box<[u8]>>,
    ends: Vec<Box<[u8]>>,
}

/// A pattern that is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrapError {
    pattern: String,
}

impl fmt::Display for TrapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "traps: \"{}\": must be a path that begins with `/` and is more than that, with a `*` before or behind it or none",
            self.pattern
        )
    }
}

impl std::error::Error for TrapError {}

/// Longer paths are not compared: nobody traps them.
const LONGEST: usize = 256;

impl Traps {
    /// What scanners ask every server for, and no browser or crawler follows a link to.
    ///
    /// Not for a service that runs `WordPress`, `phpMyAdmin` or CGI programs.
    #[must_use]
    pub fn common() -> Self {
        Self::new([
            "*/.env",
            "*/.git/config",
            "*/.git/HEAD",
            "*/.aws/credentials",
            "*/.ssh/id_rsa",
            "*/wp-login.php",
            "*/wp-config.php",
            "*/xmlrpc.php",
            "*/wlwmanifest.xml",
            "*/phpinfo.php",
            "*/eval-stdin.php",
            "/phpmyadmin/*",
            "/cgi-bin/*",
            "/boaform/*",
            "/actuator/gateway/routes",
            "/solr/admin/info/system",
            "/_ignition/execute-solution",
        ])
        .unwrap_or_default()
    }

    /// These patterns.
    ///
    /// # Errors
    /// [`TrapError`] names the first that is no pattern. `/` alone, or `*`, would be everybody.
    pub fn new<T: AsRef<str>>(patterns: impl IntoIterator<Item = T>) -> Result<Self, TrapError> {
        let mut traps = Self::default();
        for pattern in patterns {
            traps.add(pattern.as_ref())?;
        }
        Ok(traps)
    }

    fn add(&mut self, pattern: &str) -> Result<(), TrapError> {
        let error = || TrapError {
            pattern: pattern.to_owned(),
        };
        let (set, path) = match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
            (Some(end), _) => (&mut self.ends, end),
            (None, Some(beginning)) => (&mut self.beginnings, beginning),
            (None, None) => {
                if self.exact.len() <= pattern.len() && pattern.len() <= LONGEST {
                    self.exact.resize_with(pattern.len() + 1, Vec::new);
                }
                (
                    self.exact.get_mut(pattern.len()).ok_or_else(error)?,
                    pattern,
                )
            }
        };
        if !path.starts_with('/') || path.len() < 2 || path.contains('*') {
            return Err(error());
        }
        set.push(path.as_bytes().into());
        Ok(())
    }

    /// Whether it is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.beginnings.is_empty() && self.ends.is_empty()
    }

    /// Whether a path is trapped.
    #[inline]
    #[must_use]
    pub fn catch(&self, path: &str) -> bool {
        let path = path.as_bytes();
        let exact = self.exact.get(path.len());
        exact.is_some_and(|paths| paths.iter().any(|trap| trap.eq_ignore_ascii_case(path)))
            || self.beginnings.iter().any(|trap| {
                path.get(..trap.len())
                    .is_some_and(|beginning| beginning.eq_ignore_ascii_case(trap))
            })
            || self.ends.iter().any(|trap| {
                let end = path
                    .len()
                    .checked_sub(trap.len())
                    .and_then(|from| path.get(from..));
                end.is_some_and(|end| end.eq_ignore_ascii_case(trap))
            })
    }
}

impl fmt::Debug for Traps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.exact.iter().map(Vec::len).sum::<usize>()
            + self.beginnings.len()
            + self.ends.len();
        f.debug_struct("Traps")
            .field("patterns", &count)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn catches_paths_beginnings_and_ends_whatever_their_case() {
        let traps = Traps::new(["/wp-login.php", "/phpmyadmin/*", "*/.env"]).unwrap();
        for (path, caught) in [
            ("/wp-login.php", true),
            ("/WP-LOGIN.PHP", true),
            ("/blog/wp-login.php", false),
            ("/phpMyAdmin/", true),
            ("/phpmyadmin/index.php", true),
            ("/phpmyadmin", false),
            ("/.env", true),
            ("/api/.ENV", true),
            ("/.env.example", false),
            ("/environment", false),
            ("/", false),
            ("", false),
            ("*", false),
        ] {
            assert_eq!(traps.catch(path), caught, "{path}");
        }
    }

    #[test]
    fn what_would_catch_everybody_is_no_pattern() {
        for pattern in [
            "",
            "/",
            "*",
            "/*",
            "*/",
            "wp-login.php",
            "/a*b",
            "*/a*",
            &format!("/{}", "a".repeat(300)),
        ] {
            let error = Traps::new([pattern]).unwrap_err();
            assert!(error.to_string().contains(pattern), "{error}");
        }
    }

    #[test]
    fn the_common_ones_are_all_patterns() {
        assert!(Traps::common().catch("/.git/config"));
        assert!(!Traps::default().catch("/.git/config"));
        assert!(Traps::default().is_empty());
    }
}
