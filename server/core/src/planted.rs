//! Faults that a test switches on, to prove that the simulator would find them. Without the feature `planted-bugs` no switch is there:
//! every question is a constant `false`.

/// One fault each; its place asks [`planted`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A report of an earlier session is taken.
    SessionUnchecked,
    /// A late duplicate of a report is taken.
    SeqUnchecked,
    /// A second machine displaces the one that speaks.
    CloneAdmitted,
    /// Leases of before a restart are counted from the clock's beginning.
    NoGraceAfterStart,
    /// A lost attempt goes on though its chunk was given to another.
    FenceDropped,
    /// An end is counted twice.
    CountedTwice,
    /// A failure costs nothing.
    RetryIsFree,
    /// What the grid does wrong is paid by the user.
    UserPaysForGrid,
    /// A GPU that is taken is given once more.
    GpuGivenTwice,
    /// A GPU is shared by more than its owner declared.
    SharesUncounted,
    /// One that wants to be alone on a GPU gets one that others share.
    SharedGivenAlone,
    /// What an attempt used stays reserved.
    RoomNotGivenBack,
    /// Chunks that waited when their job was stopped still start.
    StoppedChunksStart,
    /// A job that was held starts what was ready.
    HeldChunksStart,
    /// A chunk whose backoff is over is not woken.
    RestsForEver,
    /// Timers are not set again at a start.
    TimersLostAtLoad,
    /// What was gathered before chunks ran again counts.
    GatherTurnUnasked,
    /// The gather chunk starts before all chunks have ended.
    GatherOpensEarly,
    /// A chunk that failed and is run again keeps its old budgets.
    RetryKeepsBudgets,
    /// What was cancelled or given to others runs on.
    StopsNothing,
    /// An attempt whose order was lost is not offered again.
    OffersOnce,
    /// What succeeded as other work still counts after an edit.
    EditMixesWork,
    /// An attempt by the old file goes on after an edit.
    EditKeepsLost,
    /// After an edit chunks keep what they had spent and grown to.
    EditKeepsBudgets,
    /// The limit of an owner is not asked for.
    OwnersUnlimited,
    /// Chunks that do not run yet are not counted to `parallelism`.
    LeasedUncounted,
    /// A chunk that ran out of memory gets more than its job allows.
    GrowsPastMax,
    /// A chunk that has grown reserves what it had before.
    GrownUnreserved,
    /// After a start all chunks of a stage need the same.
    LanesLostAtLoad,
    /// First chunks that all fail in the same way hold nothing.
    BreakerSleeps,
    /// A job is held once more for what a person released it from.
    BreakerBitesTwice,
    /// A rule takes what is newer than what it saw.
    ExpiresWhatRanAgain,
    /// A job that has not ended is deleted.
    DeletesWhatGoesOn,
    /// Containers of a deleted job still write rows.
    GoneStillWrites,
    /// Chunks whose outputs a rule took count beside those that run again.
    CountsWhatIsRemoved,
    /// Of the jobs of one owner a newer one comes first.
    NewestFirst,
    /// Who had least comes first only by name.
    SharesUnasked,
    /// A start of the server takes every runner for healthy.
    SicknessForgotten,
    /// That a runner is sick is not written.
    SicknessUnwritten,
    /// A runner that has to rest gets chunks.
    SickGetsWork,
    /// A paused or evicted runner gets chunks.
    HaltedGetsWork,
    /// That a runner is paused or evicted is not written.
    HaltUnwritten,
    /// An evicted chunk pays for it as for a failure.
    EvictCosts,
    /// What runs on an evicted runner runs on.
    EvictsNothing,
    /// A runner that ends soon gets what runs for longer.
    EndsUnasked,
}

#[cfg(feature = "planted-bugs")]
mod switch {
    use super::Bug;
    use std::cell::Cell;

    impl Bug {
        pub const ALL: [Bug; 45] = [
            Bug::SessionUnchecked,
            Bug::SeqUnchecked,
            Bug::CloneAdmitted,
            Bug::NoGraceAfterStart,
            Bug::FenceDropped,
            Bug::CountedTwice,
            Bug::RetryIsFree,
            Bug::UserPaysForGrid,
            Bug::GpuGivenTwice,
            Bug::SharesUncounted,
            Bug::SharedGivenAlone,
            Bug::RoomNotGivenBack,
            Bug::StoppedChunksStart,
            Bug::HeldChunksStart,
            Bug::RestsForEver,
            Bug::TimersLostAtLoad,
            Bug::GatherTurnUnasked,
            Bug::GatherOpensEarly,
            Bug::RetryKeepsBudgets,
            Bug::StopsNothing,
            Bug::OffersOnce,
            Bug::EditMixesWork,
            Bug::EditKeepsLost,
            Bug::EditKeepsBudgets,
            Bug::OwnersUnlimited,
            Bug::LeasedUncounted,
            Bug::GrowsPastMax,
            Bug::GrownUnreserved,
            Bug::LanesLostAtLoad,
            Bug::BreakerSleeps,
            Bug::BreakerBitesTwice,
            Bug::ExpiresWhatRanAgain,
            Bug::DeletesWhatGoesOn,
            Bug::GoneStillWrites,
            Bug::CountsWhatIsRemoved,
            Bug::NewestFirst,
            Bug::SharesUnasked,
            Bug::SicknessForgotten,
            Bug::SicknessUnwritten,
            Bug::SickGetsWork,
            Bug::HaltedGetsWork,
            Bug::HaltUnwritten,
            Bug::EvictCosts,
            Bug::EvictsNothing,
            Bug::EndsUnasked,
        ];
    }

    thread_local!(static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) });

    /// Switches this thread's fault.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
    }

    pub(crate) fn planted(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }
}

#[cfg(feature = "planted-bugs")]
pub use switch::plant;
#[cfg(feature = "planted-bugs")]
pub(crate) use switch::planted;

#[cfg(not(feature = "planted-bugs"))]
pub(crate) const fn planted(_: Bug) -> bool {
    false
}
