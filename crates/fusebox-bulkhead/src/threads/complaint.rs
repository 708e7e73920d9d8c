use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
};

use fusebox_core::Name;

/// Says once that the operating system does not go along with a setting, however many threads find out.
#[derive(Debug)]
pub(super) struct Complaint {
    compartment: Name,
    setting: &'static str,
    said: AtomicBool,
}

impl Complaint {
    pub(super) const fn new(compartment: Name, setting: &'static str) -> Self {
        Self {
            compartment,
            setting,
            said: AtomicBool::new(false),
        }
    }

    /// `true` the first time.
    pub(super) fn about(&self, error: &io::Error) -> bool {
        let first = !self.said.swap(true, Ordering::Relaxed);
        if first {
            tracing::warn!(
                target: "fusebox",
                layer = "bulkhead",
                policy = self.compartment.as_str(),
                setting = self.setting,
                %error,
                "threads run without a setting that is not available"
            );
        }
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_available_is_said_once() {
        let complaint = Complaint::new("analytics".into(), "nice");
        let error = io::ErrorKind::Unsupported.into();
        assert!(complaint.about(&error));
        assert!(!complaint.about(&error));
    }
}
