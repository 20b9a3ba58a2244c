//! What a container really does, and how its engine lies about it: all of it follows from a seed and the number of the attempt.
use dsg_schemas::wire::log::Stream;

/// Numbers that a seed decides.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// At least 0, less than `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn of<T: Clone>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())].clone()
    }
}

/// The truth.
#[derive(Clone, Default)]
pub struct Program {
    pub output: Vec<(Stream, Vec<u8>)>,
    /// After each piece.
    pub pause_ms: u64,
    pub code: i32,
    /// The kernel kills one of its processes, whatever its code is.
    pub oom: bool,
    /// Ends with 0 when it is told to end, its work undone.
    pub traps: bool,
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Program { output, pause_ms, code, oom, traps } = self;
        write!(f, "{} pieces, {pause_ms} ms after each, code {code}, oom {oom}, traps {traps}", output.len())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Image,
    Create,
    Attach,
    Start,
    Inspect,
    Wait,
    Logs,
    Stop,
    Remove,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Not done, and never answered.
    Hangs,
    /// Done, and never answered.
    DoneAndHangs,
    /// Not done, and this is the answer.
    Refuses(u16),
    /// Done, and this is the answer.
    DoneAndRefuses(u16),
    /// Not done, and answered as if it were.
    Claims,
    /// Answered at once, done later.
    Later(u64),
    /// Done, and the answer cut after so many bytes.
    Cut(usize),
    /// The text cut after so many bytes, in an answer that is whole as HTTP.
    Short(usize),
    /// Inspect: it has exited with 0, before it began.
    EndedBefore,
    /// Inspect: it has exited with 0, and nobody knows when.
    EndedNever,
    /// Inspect: it runs.
    StillRuns,
    /// Wait: it ended with 0.
    Zero,
}

impl How {
    /// Without its numbers.
    pub fn kind(self) -> String {
        format!("{self:?}").split('(').next().unwrap_or_default().to_owned()
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Lie {
    pub call: Call,
    pub how: How,
    /// So many calls are answered honestly before.
    pub after: u32,
    pub times: u32,
}

#[derive(Clone, Debug, Default)]
pub struct Script {
    pub program: Program,
    pub lies: Vec<Lie>,
    /// GPUs are asked for.
    pub gpus: Vec<String>,
    /// The engine makes the container without them and says nothing.
    pub gpus_ignored: bool,
}

impl Script {
    pub fn roll(seed: u64, attempt: u64) -> Script {
        let mut dice = Dice::new(seed.wrapping_mul(1_000_003).wrapping_add(attempt));
        let program = program(&mut dice, attempt);
        let lies = (0..dice.below(4)).map(|_| lie(&mut dice)).collect();
        let gpus = if dice.one_in(4) { vec!["GPU-1".to_owned()] } else { Vec::new() };
        Script { program, lies, gpus, gpus_ignored: dice.one_in(2) }
    }
}

fn program(dice: &mut Dice, attempt: u64) -> Program {
    let pieces = |dice: &mut Dice| {
        let line = |n: usize| format!("attempt {attempt} says line {n} and means it\n").into_bytes();
        let stream = |dice: &mut Dice| if dice.one_in(4) { Stream::Stderr } else { Stream::Stdout };
        (0..dice.below(30)).map(|n| (stream(dice), line(n))).collect::<Vec<_>>()
    };
    let mut output = pieces(dice);
    if dice.one_in(4) {
        output.push((Stream::Stdout, b"the last line has no end".to_vec()));
    }
    if dice.one_in(8) {
        output.push((Stream::Stdout, vec![0; 40]));
    }
    Program {
        output,
        pause_ms: dice.of(&[0, 0, 1, 10]),
        code: dice.of(&[0, 0, 0, 3, 137]),
        oom: dice.one_in(12),
        traps: dice.one_in(2),
    }
}

fn lie(dice: &mut Dice) -> Lie {
    let cut = dice.of(&[10, 150, 300, 3_000]);
    let cut = dice.below(cut);
    let call = dice.of(&[
        Call::Image,
        Call::Create,
        Call::Attach,
        Call::Start,
        Call::Inspect,
        Call::Inspect,
        Call::Wait,
        Call::Logs,
        Call::Logs,
        Call::Stop,
        Call::Remove,
    ]);
    // Engines say 304 of what has been started or ended before, and never 404 of the removal of what is there.
    let status = match call {
        Call::Start | Call::Stop => dice.of(&[500, 409, 404, 304]),
        Call::Remove => dice.of(&[500, 409]),
        _ => dice.of(&[500, 409, 404]),
    };
    let general = [How::Hangs, How::DoneAndHangs, How::Refuses(status), How::DoneAndRefuses(status), How::Cut(cut)];
    let own: &[How] = match call {
        Call::Inspect => &[How::EndedBefore, How::EndedNever, How::StillRuns, How::Short(cut)],
        Call::Wait => &[How::Zero],
        Call::Start => &[How::Claims, How::Later(40)],
        Call::Logs => &[How::Short(cut)],
        Call::Create | Call::Stop => &[How::Claims],
        Call::Image | Call::Attach | Call::Remove => &[],
    };
    let how = match own {
        [] => dice.of(&general),
        own if dice.one_in(2) => dice.of(own),
        _ => dice.of(&general),
    };
    let after = dice.below(3) as u32;
    Lie { call, how, after: if dice.one_in(2) { 0 } else { after }, times: dice.of(&[1, 1, 2, 5, 1_000]) }
}
