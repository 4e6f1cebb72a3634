//! What the decoders of all streams do alike: cut bytes into frames and read one frame after the other. What a frame
//! means is the dialect's own.

use super::lenient::Text;
use super::{Event, StreamDecoder};
use crate::chat::Usage;

/// Cuts bytes that arrive in pieces into frames.
pub(super) trait Frames: Default + Send + 'static {
    /// One frame.
    type Frame<'f>;
    /// Takes the next bytes; calls `on` for each frame that they complete.
    fn feed(&mut self, bytes: &[u8], on: &mut dyn FnMut(Self::Frame<'_>));
    /// The bytes have ended; the last frame may lack its end.
    fn finish(&mut self, on: &mut dyn FnMut(Self::Frame<'_>));
}

/// Tells what one frame after the other says.
pub(super) trait ReadsFrames: Send {
    /// How its frames are cut.
    type Frames: Frames;
    /// Reads the next frame; calls `on` for each event in it.
    fn read(&mut self, frame: <Self::Frames as Frames>::Frame<'_>, on: &mut dyn FnMut(Event));
}

/// A decoder of a stream of frames.
#[derive(Default)]
pub(super) struct Framed<R: ReadsFrames> {
    frames: R::Frames,
    reader: R,
}

impl<R: ReadsFrames> Framed<R> {
    pub(super) fn new(reader: R) -> Framed<R> {
        Framed {
            frames: R::Frames::default(),
            reader,
        }
    }
}

impl<R: ReadsFrames> StreamDecoder for Framed<R> {
    fn feed(&mut self, bytes: &[u8], on: &mut dyn FnMut(Event)) {
        let reader = &mut self.reader;
        self.frames.feed(bytes, &mut |frame| reader.read(frame, on));
    }

    fn finish(&mut self, on: &mut dyn FnMut(Event)) {
        let reader = &mut self.reader;
        self.frames.finish(&mut |frame| reader.read(frame, on));
    }
}

/// The model's name as the upstream said it last: many repeat it in every frame, and it is told once.
#[derive(Default)]
pub(super) struct ToldModel(String);

impl ToldModel {
    pub(super) fn tell(&mut self, said: &Text<'_>, on: &mut dyn FnMut(Event)) {
        if let Some(model) = said.words().filter(|model| *model != self.0) {
            model.clone_into(&mut self.0);
            on(Event::Model(model.to_owned()));
        }
    }
}

/// The usage as the upstream said it last.
#[derive(Default)]
pub(super) struct ToldUsage(Option<Usage>);

impl ToldUsage {
    /// Tells the usage that was read now. Where it could not be read, what was read before is not the last word any more.
    pub(super) fn tell(&mut self, read: Option<Usage>, on: &mut dyn FnMut(Event)) {
        let spoilt = self.0.map(|before| Usage {
            anomaly: true,
            ..before
        });
        self.0 = read.or(spoilt);
        if let Some(usage) = self.0 {
            on(Event::Usage(usage));
        }
    }
}
