//! What a person, or a script, and a program that talks to others have between them: lines that
//! come in and lines that go out, whichever comes first.
//!
//! Where both ends are a terminal the line is edited, and what goes out appears above it. Neither
//! end can stop the program: lines go out on a thread of their own, and wait there within limits.

use std::{
    io::{self, BufRead as _, Read as _, Write},
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    thread,
};

use async_channel::{Receiver, Sender};
use futures_util::future::{Either, select};
use rustyline::{DefaultEditor, ExternalPrinter, error::ReadlineError};

use crate::{Failure, signals::Signals, stderr, stderr::Lines};

/// How long a line may be that is typed or piped in, in bytes: as long as a message may be.
const MAX_LINE: u64 = 1024 * 1024;
/// How many lines the history has.
const HISTORY: usize = 1000;

/// What comes from a person or a script.
#[derive(Debug)]
pub(crate) enum Input {
    /// A line, without its end.
    Line(String),
    /// A line that is none, and why.
    Bad(String),
    /// There will be no more.
    End,
    /// Whoever is there wants the program to end: Ctrl-C, or a signal; or nobody reads any more.
    Stop,
    /// What is shown cannot be written, and why.
    Broken(String),
}

/// Colours, or none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Colours(bool);

impl Colours {
    /// A name, in a colour that is always the same for it.
    pub(crate) fn name(self, name: &str) -> String {
        /// Those that can be read on black and on white.
        const COLOURS: [u8; 6] = [31, 32, 33, 34, 35, 36];
        let sum = name.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31) + usize::from(byte));
        self.paint(COLOURS[sum % COLOURS.len()], name)
    }

    /// Something that nobody says.
    pub(crate) fn notice(self, text: &str) -> String {
        self.paint(2, text)
    }

    fn paint(self, code: u8, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.into() }
    }
}

/// Where lines come in and go out.
pub(crate) struct Console {
    input: Receiver<Input>,
    /// The next line may be read; in a terminal, with this prompt.
    next: Sender<String>,
    out: Arc<Lines>,
    /// Closed when nobody reads what goes out any more; what it was, if it was something else.
    reader: Receiver<String>,
    signals: Signals,
    colours: Colours,
    is_terminal: bool,
    _restore: Restore,
}

impl Console {
    /// Opens standard input and output; with a history of what is typed in a file, if there is one.
    ///
    /// # Errors
    /// There is no thread, or the history cannot be read.
    pub(crate) fn open(history: Option<&Path>) -> Result<Self, Failure> {
        let signals = Signals::new().map_err(Failure::crash)?;
        let restore = Restore::new();
        let editor = editor(history)?;
        let is_terminal = editor.is_some();
        let (sender, input) = async_channel::bounded(1);
        let (next, turns) = async_channel::bounded::<String>(1);
        let (hears, reader) = async_channel::bounded(1);
        let lost = |count| {
            stderr::write(format!(
                "symple: warning: {count} lines came too fast and are not shown\n"
            ));
        };
        let (out, read): (_, Box<dyn FnOnce() + Send>) = match editor {
            Some((mut editor, printer)) => {
                let out = Lines::start(Above { printer, _hears: hears }, lost);
                let history = history.map(PathBuf::from);
                (out, Box::new(move || edit(&mut editor, history.as_deref(), &turns, &sender)))
            }
            None => {
                let out = Lines::start(Plain { out: io::stdout(), hears: Some(hears) }, lost);
                (out, Box::new(move || read_lines(&turns, &sender)))
            }
        };
        thread::Builder::new().name("input".into()).spawn(read).map_err(Failure::crash)?;
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let colours = Colours(is_terminal && !set("NO_COLOR"));
        let out = Arc::new(out);
        Ok(Self { input, next, out, reader, signals, colours, is_terminal, _restore: restore })
    }

    /// True if there is a person: input and output are a terminal.
    pub(crate) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    pub(crate) fn colours(&self) -> Colours {
        self.colours
    }

    /// Lets the next line come in.
    pub(crate) fn prompt(&self, prompt: String) {
        // There is one at a time, so there is room; where nobody reads any more none is needed.
        let _ = self.next.try_send(prompt);
    }

    /// Shows a line, which must be safe to show.
    pub(crate) fn show(&self, line: &str) {
        self.out.push(format!("{line}\n").into_bytes());
    }

    /// What comes in next, or what is ready before.
    pub(crate) async fn next_or<T>(&self, other: impl Future<Output = T>) -> Result<Input, T> {
        let comes = async {
            // That there is nothing more was said once.
            let Ok(input) = self.input.recv().await else { std::future::pending().await };
            input
        };
        let either = async {
            match select(pin!(comes), pin!(other)).await {
                Either::Left((input, _)) => Ok(input),
                Either::Right((other, _)) => Err(other),
            }
        };
        self.stop_or(either).await.unwrap_or_else(Ok)
    }

    /// What asks for an end, or what is ready before.
    pub(crate) async fn stop_or<T>(&self, other: impl Future<Output = T>) -> Result<T, Input> {
        let reads = async {
            match select(pin!(self.reader.recv()), pin!(other)).await {
                Either::Left((broken, _)) => Err(broken.map_or(Input::Stop, Input::Broken)),
                Either::Right((other, _)) => Ok(other),
            }
        };
        self.signals.next_or(reads).await.map_or_else(|reads| reads, |_| Err(Input::Stop))
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.out.flush(stderr::LAST_WORDS);
    }
}

/// An editor and what prints above it, where input and output are a terminal that can do it.
fn editor(
    history: Option<&Path>,
) -> Result<Option<(DefaultEditor, impl ExternalPrinter + Send + use<>)>, Failure> {
    let config = rustyline::Config::builder()
        .auto_add_history(true)
        // What is pasted is typed: several lines are several messages.
        .bracketed_paste(false)
        .max_history_size(HISTORY)
        .map_err(Failure::crash)?
        .build();
    let mut editor = DefaultEditor::with_config(config).map_err(Failure::crash)?;
    let Ok(printer) = editor.create_external_printer() else { return Ok(None) };
    match history.map(|file| (file, editor.load_history(file))) {
        // It is made when there is something to write.
        Some((_, Err(ReadlineError::Io(error)))) if error.kind() == io::ErrorKind::NotFound => {}
        Some((file, Err(error))) => {
            return Err(Failure::usage(format!("the history in {}: {error}", file.display())));
        }
        _ => {}
    }
    Ok(Some((editor, printer)))
}

/// Reads lines from a terminal, each when it is asked for.
fn edit(
    editor: &mut DefaultEditor,
    history: Option<&Path>,
    turns: &Receiver<String>,
    input: &Sender<Input>,
) {
    while let Ok(prompt) = turns.recv_blocking() {
        let came = match editor.readline(&prompt) {
            Ok(line) => {
                // A history that cannot be written is no reason to end.
                let _ = history.map(|file| editor.append_history(file));
                Input::Line(line)
            }
            Err(ReadlineError::Interrupted) => Input::Stop,
            Err(ReadlineError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => {
                no_text()
            }
            Err(_) => Input::End,
        };
        let last = matches!(came, Input::Stop | Input::End);
        if input.send_blocking(came).is_err() || last {
            return;
        }
    }
}

/// Reads lines from whatever standard input is, each when it is asked for.
fn read_lines(turns: &Receiver<String>, input: &Sender<Input>) {
    let mut stdin = io::stdin().lock();
    while turns.recv_blocking().is_ok() {
        let came = read_line(&mut stdin);
        let last = matches!(came, Input::End);
        if input.send_blocking(came).is_err() || last {
            return;
        }
    }
}

fn read_line(from: &mut impl io::BufRead) -> Input {
    let mut line = Vec::new();
    match from.take(MAX_LINE + 1).read_until(b'\n', &mut line) {
        // A terminal that is gone says so with an error, again and again.
        Ok(0) | Err(_) => return Input::End,
        Ok(_) => {}
    }
    if line.len() as u64 > MAX_LINE && line.last() != Some(&b'\n') {
        return match skip_line(from) {
            Ok(()) => Input::Bad(format!("a line of more than {MAX_LINE} bytes is not read")),
            Err(_) => Input::End,
        };
    }
    while matches!(line.last(), Some(b'\n' | b'\r')) {
        line.pop();
    }
    String::from_utf8(line).map_or_else(|_| no_text(), Input::Line)
}

fn no_text() -> Input {
    Input::Bad("a line that is no UTF-8 is not read".into())
}

/// Passes over the rest of a line.
fn skip_line(from: &mut impl io::BufRead) -> io::Result<()> {
    loop {
        let part = from.fill_buf()?;
        let end = part.iter().position(|byte| *byte == b'\n');
        let (len, last) = end.map_or((part.len(), part.is_empty()), |at| (at + 1, true));
        from.consume(len);
        if last {
            return Ok(());
        }
    }
}

/// Writes above the line that is being edited.
struct Above<P> {
    printer: P,
    /// Dropped with it, when the program ends.
    _hears: Sender<String>,
}

impl<P: ExternalPrinter> Write for Above<P> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let line = String::from_utf8_lossy(text).into_owned();
        self.printer.print(line).map_err(io::Error::other)?;
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes to whatever standard output is, and tells when nobody reads it any more.
struct Plain {
    out: io::Stdout,
    hears: Option<Sender<String>>,
}

impl Write for Plain {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let written = self.out.write_all(text).and_then(|()| self.out.flush());
        if let Err(error) = &written
            && let Some(hears) = self.hears.take()
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            // It is the only one, so there is room.
            let _ = hears.try_send(error.to_string());
        }
        written.map(|()| text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Gives a terminal back as it was, however the program ends: the editor may be in the middle of a
/// line, on a thread that is not waited for.
struct Restore {
    #[cfg(unix)]
    was: Option<rustix::termios::Termios>,
}

impl Restore {
    fn new() -> Self {
        Self {
            #[cfg(unix)]
            was: rustix::termios::tcgetattr(rustix::stdio::stdin()).ok(),
        }
    }
}

impl Drop for Restore {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Some(was) = &self.was {
            use rustix::termios::{OptionalActions, tcsetattr};
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, was);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_whole_and_within_limits() {
        let long = "x".repeat(usize::try_from(MAX_LINE).unwrap());
        let input = format!("one\r\n\n{long}\n{long}y\nlast");
        let mut from = io::BufReader::new(input.as_bytes());
        let mut next = || match read_line(&mut from) {
            Input::Line(line) => line,
            other => format!("{other:?}"),
        };
        assert_eq!(next(), "one");
        assert_eq!(next(), "");
        assert_eq!(next(), long);
        assert_eq!(next(), "Bad(\"a line of more than 1048576 bytes is not read\")");
        assert_eq!(next(), "last");
        assert_eq!(next(), "End");
        assert!(matches!(read_line(&mut &b"\xff\n"[..]), Input::Bad(_)));
    }

    #[test]
    fn names_have_colours_where_there_are_any() {
        let (plain, coloured) = (Colours(false), Colours(true));
        assert_eq!(plain.name("alice"), "alice");
        assert_eq!(coloured.name("alice"), coloured.name("alice"));
        assert!(coloured.name("alice").ends_with("malice\x1b[0m"));
        assert_eq!(coloured.notice("x"), "\x1b[2mx\x1b[0m");
    }
}
