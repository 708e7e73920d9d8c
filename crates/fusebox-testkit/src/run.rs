use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::{Check, Checked, Report, Subject, checks};

/// Runs one check.
///
/// Makes a runtime of its own (of one thread, and with a paused clock unless the subject
/// [runs elsewhere](Subject::runs_elsewhere)), so it must not be called from inside one.
pub fn check<S: Subject>(check: Check, subject: &S) -> Checked {
    let mut checked = Checked::new(check);
    if let Some(reason) = subject.exempt(check) {
        checked.skip(reason);
        return checked;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(!subject.runs_elsewhere())
        .build();
    match runtime {
        Ok(runtime) => {
            // One broken check must not hide the others. What it had found so far is kept.
            let run = catch_unwind(AssertUnwindSafe(|| {
                // Without a budget: the checks poll by hand, more often than a task should.
                runtime.block_on(tokio::task::unconstrained(checks::run(
                    subject,
                    &mut checked,
                )));
            }));
            if let Err(panic) = run {
                let message = text(&*panic).unwrap_or("something that is not a text");
                checked
                    .findings
                    .push(format!("panicked where nothing was to panic: {message}"));
            }
        }
        Err(error) => checked.findings.push(format!("no runtime: {error}")),
    }
    checked
}

/// Runs every check.
///
/// [`contract!`](crate::contract!) makes a test of each instead, which a test runner shows by name.
pub fn contract<S: Subject>(subject: &S) -> Report {
    Report {
        checks: Check::ALL
            .into_iter()
            .map(|name| check(name, subject))
            .collect(),
    }
}

fn text(panic: &(dyn std::any::Any + Send)) -> Option<&str> {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
}

/// Makes a module with one test for each [`Check`].
///
/// ```
/// # struct Sign;
/// # use std::{future::Future, sync::Arc};
/// # use fusebox_testkit::*;
/// # impl Subject for Sign {
/// #     const KIND: fusebox_core::LayerKind = fusebox_core::LayerKind::Other("none");
/// #     type Layer = tower_layer::Identity;
/// #     type Body = MockBody;
/// #     async fn fixture(&self, _: Situation, _: Option<Arc<dyn fusebox_core::Observer>>)
/// #         -> Option<Fixture<tower_layer::Identity>> { None }
/// # }
/// fusebox_testkit::contract! {
///     /// The sign at the door.
///     mod sign: Sign;
/// }
/// ```
#[macro_export]
macro_rules! contract {
    ($($(#[$meta:meta])* mod $name:ident: $subject:expr;)+) => {
        $(
            $(#[$meta])*
            #[cfg(test)]
            mod $name {
                #[allow(unused_imports, reason = "a subject may be named by its path")]
                use super::*;

                $crate::contract!(@tests ($subject)
                    PassThrough leaves_request_and_response_alone
                    Refusal refuses_without_calling_the_inner_service
                    ReadyInstance calls_the_instance_that_was_ready
                    Readiness calls_nothing_before_it_is_ready_and_admitted
                    SharedState shares_one_state_among_clones_and_layers
                    Cancellation gives_back_what_it_held_when_cancelled
                    OneEvent tells_each_request_once
                    Outcome judges_the_outcome_at_the_end
                    Shadow only_tells_in_shadow_mode
                    Types fits_where_tower_needs_it
                    Errors passes_errors_on_and_gives_back
                    Panics gives_back_when_the_inner_service_panics
                );
            }
        )+
    };
    (@tests ($subject:expr) $($check:ident $test:ident)+) => {
        // A check that is missing here is an error, not a check that is never run.
        const _: fn($crate::Check) = |check| match check {
            $($crate::Check::$check)|+ => {}
        };

        $(
            #[test]
            fn $test() {
                $crate::check($crate::Check::$check, &$subject).assert_kept();
            }
        )+
    };
}
