//! The one way to wait in a test: for something that has a name, and not for ever. Tests under `src` use it too.

use std::io::{BufRead, BufReader, Read, Write};
use std::panic::resume_unwind;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// What has not come by then does not come, however busy the machine is.
pub const DEADLINE: Duration = Duration::from_secs(300);
/// Between two looks at what nobody tells.
const LOOK: Duration = Duration::from_millis(2);

fn missed(what: &str) -> ! {
    panic!("waited {DEADLINE:?} for this: {what}")
}

/// What this future gives.
pub async fn within<F: Future>(what: &str, future: F) -> F::Output {
    let given = tokio::time::timeout(DEADLINE, future).await;
    given.unwrap_or_else(|_| missed(what))
}

/// Waits until this is so.
pub async fn until(what: &str, mut done: impl FnMut() -> bool) {
    until_asked(what, async || done()).await;
}

/// Waits until the answer to this is yes.
pub async fn until_asked(what: &str, mut done: impl AsyncFnMut() -> bool) {
    found(what, async || done().await.then_some(())).await;
}

/// Looks until there is something.
pub async fn found<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    within(what, looking).await
}

/// What this work gives, which may block. On a thread of its own: a runtime does not end before its own blocking threads do.
pub async fn worked<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, told) = tokio::sync::oneshot::channel();
    let thread = std::thread::spawn(move || drop(tell.send(work())));
    match within(what, told).await {
        Ok(given) => given,
        Err(_) => resume_unwind(thread.join().expect_err("it panicked")),
    }
}

/// As [`worked`], outside a runtime.
#[allow(dead_code, reason = "only tests under `src` need it")]
pub fn worked_here<T: Send + 'static>(what: &str, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, told) = mpsc::channel();
    let thread = std::thread::spawn(move || drop(tell.send(work())));
    match told.recv_timeout(DEADLINE) {
        Ok(given) => given,
        Err(RecvTimeoutError::Timeout) => missed(what),
        Err(RecvTimeoutError::Disconnected) => {
            resume_unwind(thread.join().expect_err("it panicked"))
        }
    }
}

/// As [`found`], outside a runtime.
pub fn found_here<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        if began.elapsed() > DEADLINE {
            missed(what);
        }
        std::thread::park_timeout(LOOK);
    }
}

/// What a child says, up to the line that is the last for us or to its end. A child that says too little is killed.
pub fn heard(
    what: &str,
    child: &mut Child,
    mut last: impl FnMut(&str) -> bool + Send + 'static,
) -> Vec<String> {
    let (tell, told) = mpsc::channel();
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    std::thread::spawn(move || {
        let mut heard = Vec::new();
        for line in lines.map_while(Result::ok) {
            heard.push(line);
            if heard.last().is_some_and(|line| last(line)) {
                break;
            }
        }
        let _ = tell.send(heard);
    });
    told.recv_timeout(DEADLINE).unwrap_or_else(|_| {
        killed(child);
        missed(what)
    })
}

/// Runs this with this input to its end.
pub fn ran(what: &str, command: &mut Command, input: &str) -> Output {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("it runs");
    let (mut stdin, input) = (child.stdin.take().expect("piped"), input.to_owned());
    // A child that reads nothing more is no error.
    std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    ended(what, child)
}

/// What a child said and how it ended. One that does not end is killed.
pub fn ended(what: &str, mut child: Child) -> Output {
    drop(child.stdin.take());
    let (stdout, stderr) = (all(child.stdout.take()), all(child.stderr.take()));
    let Some(status) = reaped(&mut child) else {
        killed(&mut child);
        missed(what)
    };
    let said = |all: Receiver<Vec<u8>>| all.recv_timeout(DEADLINE).unwrap_or_else(|_| missed(what));
    Output {
        status,
        stdout: said(stdout),
        stderr: said(stderr),
    }
}

fn all(pipe: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let mut all = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut all);
        }
        let _ = tell.send(all);
    });
    told
}

/// Kills a child and takes its end. Does not panic: a test that failed already does this too.
pub fn killed(child: &mut Child) {
    let _ = child.kill();
    let _ = reaped(child);
}

/// How a child ended; nothing where it goes on.
pub fn reaped(child: &mut Child) -> Option<ExitStatus> {
    let began = Instant::now();
    while began.elapsed() < DEADLINE {
        if let Some(status) = child.try_wait().expect("a child of ours") {
            return Some(status);
        }
        std::thread::park_timeout(LOOK);
    }
    None
}
