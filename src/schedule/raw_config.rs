//! `cowlog.toml` as it is written, and what is wrong with it.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::config::{Config, Drill, SourceConfig};
use super::offsite::RawOffsite;
use super::serve::RawServe;
use super::times::{Quiet, When};
use crate::fs::MethodChoice;
use crate::kafka::Profile;
use crate::kafka::datadir::is_topic_name;
use crate::snapshot::{Budget, Level, Policy};
use crate::store::Scope;
use crate::units::{parse_bytes, parse_duration};

/// What is wrong, and where.
pub(super) struct Wrong {
    pub(super) at: Range<usize>,
    pub(super) why: String,
}

pub(super) type Checked<T> = std::result::Result<T, Wrong>;
pub(super) type Text = Spanned<String>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawConfig {
    state: Text,
    workers: Option<Spanned<usize>>,
    serve: Option<Spanned<RawServe>>,
    #[serde(default)]
    defaults: RawTasks,
    #[serde(default)]
    source: Vec<Spanned<RawSource>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSource {
    name: Option<Text>,
    path: Text,
    topic: Option<Text>,
    partition: Option<Spanned<i32>>,
    store: Option<Text>,
    // `flatten` would lose the places and the check for unknown names.
    every: Option<Text>,
    cron: Option<Text>,
    jitter: Option<Text>,
    quiet: Option<Vec<Text>>,
    profile: Option<Text>,
    method: Option<Text>,
    max_copy: Option<Text>,
    min_interval: Option<Text>,
    keep: Option<RawKeep>,
    verify: Option<RawVerify>,
    drill: Option<RawDrill>,
    offsite: Option<RawOffsite>,
}

/// What may stand under `[defaults]` too.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawTasks {
    every: Option<Text>,
    cron: Option<Text>,
    jitter: Option<Text>,
    quiet: Option<Vec<Text>>,
    profile: Option<Text>,
    method: Option<Text>,
    max_copy: Option<Text>,
    min_interval: Option<Text>,
    keep: Option<RawKeep>,
    verify: Option<RawVerify>,
    drill: Option<RawDrill>,
    offsite: Option<RawOffsite>,
}

#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
struct RawKeep {
    max_snapshots: Option<usize>,
    retention: Option<Text>,
    #[serde(default)]
    last: usize,
    within: Option<Text>,
    #[serde(default)]
    tags: BTreeSet<String>,
    #[serde(default)]
    hourly: usize,
    #[serde(default)]
    daily: usize,
    #[serde(default)]
    weekly: usize,
    #[serde(default)]
    monthly: usize,
}

#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
struct RawVerify {
    every: Option<Text>,
    cron: Option<Text>,
    level: Option<Text>,
    budget: Option<Text>,
}

#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
struct RawDrill {
    every: Option<Text>,
    cron: Option<Text>,
    into: Text,
}

impl RawConfig {
    pub(super) fn check(self) -> Checked<Config> {
        let workers = match self.workers {
            None => 4,
            Some(n) if (1..=256).contains(n.get_ref()) => *n.get_ref(),
            Some(n) => return Err(Wrong { at: n.span(), why: "workers must lie between 1 and 256".into() }),
        };
        let state = absolute(&self.state)?;
        let mut names = BTreeSet::new();
        let mut places = BTreeSet::new();
        let mut sources = Vec::with_capacity(self.source.len());
        for source in self.source {
            let at = source.span();
            let source = source.into_inner().or(&self.defaults).check(&at, self.serve.is_some())?;
            if !names.insert(source.name.clone()) {
                return Err(Wrong { at, why: format!("two sources are called {:?}; give one a `name`", source.name) });
            }
            if !places.insert((source.path.clone(), source.part.clone())) {
                let why = format!("{} is named twice with the same part", source.path.display());
                return Err(Wrong { at, why });
            }
            sources.push(source);
        }
        let serve = self.serve.map(|serve| serve.into_inner().check()).transpose()?;
        Ok(Config { state, workers, sources, serve })
    }
}

impl RawSource {
    /// What it does not say itself.
    fn or(mut self, defaults: &RawTasks) -> RawSource {
        if self.every.is_none() && self.cron.is_none() {
            (self.every, self.cron) = (defaults.every.clone(), defaults.cron.clone());
        }
        self.jitter = self.jitter.or_else(|| defaults.jitter.clone());
        self.quiet = self.quiet.or_else(|| defaults.quiet.clone());
        self.profile = self.profile.or_else(|| defaults.profile.clone());
        self.method = self.method.or_else(|| defaults.method.clone());
        self.max_copy = self.max_copy.or_else(|| defaults.max_copy.clone());
        self.min_interval = self.min_interval.or_else(|| defaults.min_interval.clone());
        self.keep = self.keep.or_else(|| defaults.keep.clone());
        self.verify = self.verify.or_else(|| defaults.verify.clone());
        self.drill = self.drill.or_else(|| defaults.drill.clone());
        self.offsite = self.offsite.or_else(|| defaults.offsite.clone());
        self
    }

    /// Of a source of a server others may decide when something is to be done.
    fn check(self, at: &Range<usize>, served: bool) -> Checked<SourceConfig> {
        let path = absolute(&self.path)?;
        let part = part(self.topic.as_ref(), self.partition.as_ref())?;
        let name = match &self.name {
            Some(name) => is_name(name)?,
            None => name_of(&path, &part),
        };
        let create = when(self.every.as_ref(), self.cron.as_ref(), at)?;
        let verify = match &self.verify {
            None => None,
            Some(verify) => match when(verify.every.as_ref(), verify.cron.as_ref(), at)? {
                Some(when) => Some((when, level(verify.level.as_ref())?)),
                None => return Err(Wrong { at: at.clone(), why: "`verify` needs `every` or `cron`".into() }),
            },
        };
        let verify_budget = budget(self.verify.as_ref())?;
        let drill = match &self.drill {
            None => None,
            Some(drill) => match when(drill.every.as_ref(), drill.cron.as_ref(), at)? {
                Some(when) => Some(Drill { when, into: absolute(&drill.into)? }),
                None => return Err(Wrong { at: at.clone(), why: "`drill` needs `every` or `cron`".into() }),
            },
        };
        let offsite = self.offsite.as_ref().map(|offsite| offsite.check(create.is_some())).transpose()?;
        if !served && create.is_none() && verify.is_none() && drill.is_none() && offsite.is_none() {
            let why =
                format!("nothing is to be done with {name:?}: give it `every`, `cron`, `verify`, `drill` or `offsite`");
            return Err(Wrong { at: at.clone(), why });
        }
        let quiet = self.quiet.iter().flatten().map(|q| parsed(q, Quiet::parse)).collect::<Checked<_>>()?;
        Ok(SourceConfig {
            name,
            path,
            part,
            store: self.store.as_ref().map(absolute).transpose()?,
            profile: self.profile.as_ref().map(|p| parsed(p, profile)).transpose()?,
            method: self.method.as_ref().map_or(Ok(MethodChoice::Auto), |m| {
                parsed(m, |m| MethodChoice::from_str(m).map_err(|e| e.to_string()))
            })?,
            max_copy: self.max_copy.as_ref().map(|size| parsed(size, parse_bytes)).transpose()?,
            min_interval: self.min_interval.as_ref().map(|interval| parsed(interval, short)).transpose()?,
            create,
            jitter: self.jitter.as_ref().map_or(Ok(Duration::ZERO), |jitter| parsed(jitter, short))?,
            quiet,
            keep: keep(self.keep.as_ref())?,
            verify,
            verify_budget,
            drill,
            offsite,
        })
    }
}

pub(super) fn parsed<T>(text: &Text, parse: impl FnOnce(&str) -> std::result::Result<T, String>) -> Checked<T> {
    parse(text.get_ref()).map_err(|why| Wrong { at: text.span(), why })
}

pub(super) fn absolute(text: &Text) -> Checked<PathBuf> {
    parsed(text, |text| match Path::new(text) {
        path if path.is_absolute() => Ok(path.to_owned()),
        _ => Err(format!("{text:?} is not absolute: it would depend on where the program was started")),
    })
}

const LONGEST_NAME: usize = 100;

/// Whether a name may have this in it.
fn of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

fn is_name(text: &Text) -> Checked<String> {
    parsed(text, |name| {
        match (1..=LONGEST_NAME).contains(&name.len()) && !name.starts_with('.') && name.chars().all(of_name) {
            true => Ok(name.to_owned()),
            false => Err(format!("{name:?} is no name: up to 100 letters, digits, dots, dashes and underscores")),
        }
    })
}

/// The directory's name, and the part; what no name can have is left out.
fn name_of(path: &Path, part: &Scope) -> String {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name = match part {
        Scope::All => name,
        part => format!("{name}.{part}"),
    };
    let name: String = name.chars().filter(|c| of_name(*c)).collect();
    let name: String = name.trim_start_matches('.').chars().take(LONGEST_NAME).collect();
    if name.is_empty() { "source".into() } else { name }
}

fn part(topic: Option<&Text>, partition: Option<&Spanned<i32>>) -> Checked<Scope> {
    match (topic, partition) {
        (None, None) => Ok(Scope::All),
        (None, Some(n)) => Err(Wrong { at: n.span(), why: "a `partition` needs a `topic`".into() }),
        (Some(topic), _) if !is_topic_name(topic.get_ref()) => {
            Err(Wrong { at: topic.span(), why: format!("no topic can be called {:?}", topic.get_ref()) })
        }
        (_, Some(n)) if *n.get_ref() < 0 => Err(Wrong { at: n.span(), why: "no partition is below 0".into() }),
        (Some(topic), None) => Ok(Scope::Topic(topic.get_ref().clone())),
        (Some(topic), Some(n)) => Ok(Scope::Partition { topic: topic.get_ref().clone(), partition: *n.get_ref() }),
    }
}

pub(super) fn when(every: Option<&Text>, cron: Option<&Text>, at: &Range<usize>) -> Checked<Option<When>> {
    match (every, cron) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(Wrong { at: at.clone(), why: "`every` or `cron`, not both".into() }),
        (None, Some(cron)) => parsed(cron, When::cron).map(Some),
        (Some(every), None) => parsed(every, |text| match short(text)? {
            every if every < Duration::from_secs(1) => Err("at least 1s".to_owned()),
            every => Ok(Some(When::Every(every))),
        }),
    }
}

/// A time that a person can wait for.
fn short(text: &str) -> std::result::Result<Duration, String> {
    const TEN_YEARS: Duration = Duration::from_secs(3650 * 86_400);
    match parse_duration(text)? {
        time if time > TEN_YEARS => Err(format!("{text:?} is more than ten years")),
        time => Ok(time),
    }
}

fn level(text: Option<&Text>) -> Checked<Level> {
    text.map_or(Ok(Level::Full), |text| {
        parsed(text, |text| match text {
            "full" => Ok(Level::Full),
            "deep" => Ok(Level::Deep),
            _ => Err(format!("{text:?} is no level: `full` or `deep`")),
        })
    })
}

/// A piece of everything is held against its digests, which is no level.
fn budget(verify: Option<&RawVerify>) -> Checked<Option<Budget>> {
    let Some((verify, text)) = verify.and_then(|verify| Some((verify, verify.budget.as_ref()?))) else {
        return Ok(None);
    };
    if verify.level.is_some() {
        return Err(Wrong { at: text.span(), why: "`verify` takes a `budget` or a `level`, not both".into() });
    }
    parsed(text, str::parse).map(Some)
}

fn profile(text: &str) -> std::result::Result<Profile, String> {
    match text {
        "native" => Ok(Profile::Native),
        "kafka" => Ok(Profile::Kafka),
        _ => Err(format!("{text:?} is no profile: `native` or `kafka`")),
    }
}

fn keep(raw: Option<&RawKeep>) -> Checked<Policy> {
    let defaults = Policy::default();
    let Some(raw) = raw else { return Ok(defaults) };
    Ok(Policy {
        max_snapshots: raw.max_snapshots.unwrap_or(defaults.max_snapshots),
        retention_time: match &raw.retention {
            Some(text) => parsed(text, parse_duration)?,
            None => defaults.retention_time,
        },
        keep_last: raw.last,
        keep_within: raw.within.as_ref().map(|text| parsed(text, parse_duration)).transpose()?.unwrap_or_default(),
        keep_tags: raw.tags.clone(),
        keep_hourly: raw.hourly,
        keep_daily: raw.daily,
        keep_weekly: raw.weekly,
        keep_monthly: raw.monthly,
    })
}
