//! What is logged by the thread of a test, and by nobody else.

use std::io;
use std::sync::{Arc, Mutex};
use tracing::Dispatch;
use tracing::subscriber::DefaultGuard;

type Bytes = Arc<Mutex<Vec<u8>>>;

/// Keeps everything that this thread logs, from TRACE on, until it is dropped.
pub struct Logged {
    bytes: Bytes,
    _here: DefaultGuard,
    /// Where there is one subscriber alone, tracing asks the thread that meets a place in the code first whether anybody listens; another
    /// test's thread says no, and that holds for all. Where there are two, it asks both.
    _second: Dispatch,
}

struct Writer(Bytes);

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("a log").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn keeping(bytes: &Bytes) -> Dispatch {
    let bytes = Arc::clone(bytes);
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || Writer(Arc::clone(&bytes)))
        .finish();
    Dispatch::new(subscriber)
}

impl Logged {
    pub fn here() -> Logged {
        let bytes = Bytes::default();
        let second = keeping(&Bytes::default());
        let here = keeping(&bytes);
        Logged {
            bytes,
            _here: tracing::dispatcher::set_default(&here),
            _second: second,
        }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().expect("a log")).into_owned()
    }
}
