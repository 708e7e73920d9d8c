use fusebox_core::Name;

use super::complaint::Complaint;

/// The priority of a compartment's threads.
///
/// Each thread sets it for itself when it starts: a new thread has the priority of the one that needed
/// it, which for a blocking thread is any caller's. That is also why the goal is a fixed number, taken
/// when the compartment starts, and not so many steps below wherever a thread happens to begin.
#[derive(Debug)]
pub(super) struct Priority {
    niceness: i32,
    complaint: Complaint,
}

impl Priority {
    /// `steps` below the calling thread.
    pub(super) fn below_this_thread(compartment: Name, steps: i32) -> Self {
        Self {
            niceness: os::niceness().saturating_add(steps),
            complaint: Complaint::new(compartment, "nice"),
        }
    }

    /// Gives it to the calling thread, if the operating system lets it.
    pub(super) fn take(&self) {
        if let Err(error) = os::set_niceness(self.niceness) {
            self.complaint.about(&error);
        }
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod os {
    use std::io;

    // POSIX gives a priority to processes; on Linux each thread has its own, and "no process in
    // particular" is the calling thread (setpriority(2), "C library/kernel differences").
    const THIS_THREAD: Option<rustix::process::Pid> = None;

    pub(super) fn niceness() -> i32 {
        // It cannot fail for the calling thread; zero is where threads usually are.
        rustix::process::getpriority_process(THIS_THREAD).unwrap_or(0)
    }

    /// A number past the ends of the scale (-20 to 19) is taken for its end.
    pub(super) fn set_niceness(niceness: i32) -> io::Result<()> {
        Ok(rustix::process::setpriority_process(THIS_THREAD, niceness)?)
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod os {
    use std::io;

    pub(super) const fn niceness() -> i32 {
        0
    }

    /// Elsewhere the call would lower the whole process, payments and all.
    pub(super) fn set_niceness(_: i32) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(all(test, any(target_os = "linux", target_os = "android")))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_lowers_itself_and_nobody_else() {
        let here = os::niceness();
        let priority = Priority::below_this_thread("analytics".into(), 7);
        let there = std::thread::spawn(move || {
            priority.take();
            os::niceness()
        });
        assert_eq!(there.join().unwrap(), (here + 7).min(19));
        assert_eq!(os::niceness(), here);
    }

    #[test]
    fn more_steps_than_there_are_lead_to_the_lowest_priority() {
        let priority = Priority::below_this_thread("analytics".into(), i32::MAX);
        let there = std::thread::spawn(move || {
            priority.take();
            os::niceness()
        });
        assert_eq!(there.join().unwrap(), 19);
    }
}
