//! A configuration: taken as a whole, or refused with a line that is there; and what is due by it is never endless.
#![no_main]

use std::path::Path;

use cowlog::schedule::{Config, SourceMemory, Task, plan};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Config::parse(text, Path::new("c")) {
        Err(e) => {
            let e = e.to_string();
            let line = e.strip_prefix("c, line ").and_then(|rest| rest.split(':').next()).expect("a line");
            let line: usize = line.parse().expect("a number");
            assert!((1..=text.matches('\n').count() + 1).contains(&line), "{e}");
        }
        Ok(config) => {
            assert!(config.state.is_absolute());
            for source in &config.sources {
                assert!(!source.name.contains('/') && !source.name.starts_with('.'));
                let (mut memory, mut now) = (SourceMemory::default(), 1_736_726_400_000);
                for _ in 0..20 {
                    for task in Task::ALL {
                        if plan::due_at(source, task, &memory, now).is_some_and(|at| at <= now) {
                            let past = memory.tasks.entry(task).or_default();
                            past.begin(now);
                            past.succeed(now);
                            assert!(plan::due_at(source, task, &memory, now).is_none_or(|at| at > now), "it is due for ever");
                        }
                    }
                    let Some(next) = plan::next(source, &memory, now) else { break };
                    assert!(next > now);
                    now = next;
                }
            }
        }
    }
});
