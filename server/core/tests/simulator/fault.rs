//! Runs something that may panic, and says where and why it did.
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

/// Which assertion failed, and what it said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub place: String,
    pub message: String,
}

thread_local! {
    static CATCHES: Cell<bool> = const { Cell::new(false) };
    static LAST: RefCell<Option<Fault>> = const { RefCell::new(None) };
}

pub fn catch<T>(run: impl FnOnce() -> T) -> Result<T, Fault> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let others = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !CATCHES.get() {
                return others(info);
            }
            let place = info.location().map(|at| format!("{}:{}", at.file(), at.line())).unwrap_or_default();
            let message = info.payload_as_str().unwrap_or("no message").to_owned();
            LAST.set(Some(Fault { place, message }));
        }));
    });
    CATCHES.set(true);
    let result = catch_unwind(AssertUnwindSafe(run));
    CATCHES.set(false);
    let unknown = || Fault { place: "somewhere".to_owned(), message: "no message".to_owned() };
    result.map_err(|_| LAST.take().unwrap_or_else(unknown))
}
