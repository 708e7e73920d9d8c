use fusebox_testkit::Check;

macro_rules! flaws {
    ($($check:ident { $($flaw:ident,)+ })+) => {
        /// What may be wrong with a toy.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Flaw {
            None,
            $($($flaw,)+)+
        }

        impl Flaw {
            /// Each flaw, and the check that must report it.
            pub(crate) const ALL: &[(Self, Check)] = &[$($((Self::$flaw, Check::$check),)+)+];

            /// The check that must report it; `None` for no flaw.
            pub(crate) fn check(self) -> Option<Check> {
                match self {
                    Self::None => None,
                    $($(Self::$flaw => Some(Check::$check),)+)+
                }
            }
        }
    };
}

flaws! {
    PassThrough {
        ChangesTheMethod,
        StripsTheQuery,
        ChangesTheVersion,
        DropsARequestHeader,
        ForgetsRequestExtensions,
        EmptiesRequests,
        ChangesTheStatus,
        DropsAResponseHeader,
        ForgetsResponseExtensions,
        ForgetsTrailers,
        ForgetsTheSizeHint,
        ForgetsTheEndOfStream,
        HoldsAFrameBack,
        ClaimsTheInnerRefusal,
    }
    Refusal {
        CallsTheInnerWhenRefusing,
        ForgetsToMarkGrpcRefusals,
        FailsInsteadOfRefusingGrpc,
        RefusesInAnothersName,
        RefusesWithSuccess,
        RefusesGrpcAsHttp,
        RefusesGrpcWithABody,
        RefusesGrpcWithOk,
        SaysRetryAtOnce,
        SaysRetryTooSoon,
    }
    ReadyInstance {
        CallsAFreshClone,
        CallsAFreshCloneAfterWaiting,
        IsReadyForEver,
        ClonesItsReadiness,
    }
    Readiness {
        IsReadyTooSoon,
        SwallowsReadyErrors,
        ChangesReadyErrors,
        LosesTheInnersWakeUp,
        LosesItsOwnWakeUp,
        CallsBeforeTheVerdict,
    }
    SharedState {
        FreshStatePerLayerCall,
        FreshStatePerServiceClone,
        FreshStatePerLayerClone,
    }
    Cancellation {
        LeaksWhenNeverPolled,
        LeaksWhenDropped,
        LeaksWhenDroppedWaiting,
        LeaksAPlaceInTheQueue,
        LeaksWhenItsBodyIsDropped,
        LeaksInShadow,
        LeaksUnheard,
        LetsTheInnerCallGoOn,
    }
    OneEvent {
        TellsTwice,
        TellsWhenNeverCalled,
        TellsNothingWhenCancelled,
        TellsNothingWhenItsBodyIsDropped,
        TellsNothingWhenShadowedAndCancelled,
        TellsNothingOfErrors,
        TellsNothingOfPanics,
        TellsNoRefusal,
        TellsRefusalsAsShadow,
        TellsInAnothersName,
        TellsNoOutcome,
        CountsNothingUnheard,
    }
    Outcome {
        JudgesAtTheHead,
        IgnoresTrailers,
        TakesBreakingOffForSuccess,
        TakesErrorsForSuccess,
        TakesCancellationForSuccess,
        TakesCancellationForFailure,
    }
    Shadow {
        RefusesInShadow,
        TellsShadowAsEnforced,
        TellsShadowAsAdmitted,
        TellsShadowTwice,
        CountsShadowAsEnforced,
        CountsNoRefusal,
        MarksShadowedAnswers,
    }
    Errors {
        AnswersErrors,
        ChangesErrors,
        LeaksOnErrors,
        EndsBrokenBodies,
        LeaksOnBrokenBodies,
    }
    Panics {
        LeaksOnPanics,
        LeaksOnPanicsInBodies,
    }
}
