use std::io;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// What the program is doing, a line each: a spinner while it is at it, a tick when it is done. On a terminal the line
/// moves; elsewhere only what is done is printed.
pub(crate) struct Progress {
    bar: ProgressBar,
    label: std::cell::RefCell<(String, String)>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("  {spinner} {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        Self { bar, label: Default::default() }
    }

    /// Begins a step.
    pub(crate) fn begin(&self, label: &str, detail: &str) {
        *self.label.borrow_mut() = (label.to_owned(), detail.to_owned());
        self.bar.set_message(format!("{label:<9} {detail}"));
    }

    /// Ends the step as it was announced.
    pub(crate) fn done(&self) {
        let detail = self.label.borrow().1.clone();
        self.finish(&detail);
    }

    /// Ends the step with what came of it.
    pub(crate) fn finish(&self, detail: &str) {
        let label = self.label.borrow().0.clone();
        self.bar.suspend(|| println!("  ✓ {label:<9} {detail}"));
    }

    /// Where others may write lines meanwhile: they come out above the moving one.
    pub(crate) fn lines(&self) -> Lines {
        Lines(self.bar.clone())
    }

    /// Removes the moving line.
    pub(crate) fn close(&self) {
        self.bar.finish_and_clear();
    }
}

/// Standard error, shared with the moving line.
#[derive(Clone)]
pub(crate) struct Lines(ProgressBar);

impl io::Write for Lines {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::Write::write(&mut io::stderr(), text))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::Write::flush(&mut io::stderr())
    }
}
