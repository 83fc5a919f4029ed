//! Finds the mappings of this process that show the program's own file, unchanged.
//!
//! An unwritten page of a file can be unmapped: the next access reads it from the page cache. A
//! page that was written to would lose its bytes. So a mapping is chosen only if the kernel reports
//! that all of its pages are the file's. A mapping with an unknown property is not chosen.

use std::ops::Range;

/// The flags of a mapping that was only ever a view of a file: readable, executable, what it may
/// become (`mr mw me`), writes to the file denied (`dw`, up to Linux 5.14), soft-dirty (`sd`), and
/// guarded branches on ARM (`bt`).
///
/// These flags, which are not in the list, exclude a mapping: `wr`, `sh`, locked (`lo`) and
/// accounted (`ac`). The last one means that it was writable at some time, like the parts that the
/// dynamic linker relocates before it makes them read-only.
const HARMLESS: [&str; 8] = ["rd", "ex", "mr", "mw", "me", "dw", "sd", "bt"];

/// The sizes that are zero while every page of a mapping is the file's. A page of a private mapping
/// becomes anonymous when it is written to. In swap it no longer counts as anonymous, so `Swap` is
/// checked too. (`Private_Dirty` does not tell: it also counts pages of the file that are not on
/// disk yet, as when the program was linked a moment ago.)
const NONE_OF: [&str; 3] = ["Anonymous", "Swap", "Locked"];

/// A mapping as `/proc/self/smaps` describes it.
struct Mapping<'a> {
    range: Range<usize>,
    permissions: &'a str,
    offset: u64,
    /// Of the file it shows; empty if it shows none.
    path: &'a str,
    /// `Key: value` in lines.
    details: Vec<(&'a str, &'a str)>,
}

/// The address ranges of the image around `anchor` whose pages are all the file's. `anchor` is an
/// address in the program or in a library that it is linked with; `smaps` is the text of
/// `/proc/self/smaps`.
///
/// Other mappings of the same file are left out. A library may map it a second time, to read its
/// symbols for example, and unmap it before the ranges are used; another mapping may then be at
/// these addresses. The program and its libraries stay mapped.
pub(super) fn clean(smaps: &str, anchor: usize) -> Vec<Range<usize>> {
    let mappings = mappings(smaps).unwrap_or_default();
    let around = |mapping: &Mapping<'_>| mapping.range.contains(&anchor);
    let Some(at) = mappings.iter().position(around) else {
        return Vec::new();
    };
    // The mappings of an image are adjacent, and in the order of the file.
    let follows = |pair: &[Mapping<'_>]| {
        pair[0].range.end == pair[1].range.start
            && pair[0].path == pair[1].path
            && pair[0].offset < pair[1].offset
    };
    let (before, after) = (&mappings[..=at], &mappings[at..]);
    let earlier = before.windows(2).rev().take_while(|pair| follows(pair));
    let later = after.windows(2).take_while(|pair| follows(pair));
    let image = &mappings[at - earlier.count()..=at + later.count()];
    image
        .iter()
        .filter(|mapping| mapping.is_clean())
        .map(|mapping| mapping.range.clone())
        .collect()
}

impl<'a> Mapping<'a> {
    /// `55d0c0000000-55d0c0001000 r-xp 0001f000 fe:01 4711     /usr/bin/egret`
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.splitn(6, ' ');
        let (start, end) = fields.next()?.split_once('-')?;
        let address = |text| usize::from_str_radix(text, 16).ok();
        let range = address(start)?..address(end)?;
        let permissions = fields.next()?;
        let offset = u64::from_str_radix(fields.next()?, 16).ok()?;
        let path = fields.nth(2)?.trim_start_matches(' ');
        Some(Self {
            range,
            permissions,
            offset,
            path,
            details: Vec::new(),
        })
    }

    fn is_clean(&self) -> bool {
        let is_harmless = |flags: &str| {
            flags
                .split_ascii_whitespace()
                .all(|flag| HARMLESS.contains(&flag))
        };
        self.path.starts_with('/')
            && ["r-xp", "r--p"].contains(&self.permissions)
            && NONE_OF.iter().all(|key| self.detail(key) == Some("0 kB"))
            && self.detail("VmFlags").is_some_and(is_harmless)
    }

    fn detail(&self, key: &str) -> Option<&'a str> {
        let mut details = self.details.iter();
        Some(details.find(|(found, _)| *found == key)?.1)
    }
}

/// All mappings; `None` if the text does not have the expected form.
fn mappings(smaps: &str) -> Option<Vec<Mapping<'_>>> {
    let mut mappings: Vec<Mapping<'_>> = Vec::new();
    for line in smaps.lines() {
        // A mapping's line begins with two numbers, a detail's with its name and a colon.
        let detail = line.split_once(':').filter(|(key, _)| !key.contains(' '));
        match (detail, mappings.last_mut()) {
            (Some((key, value)), Some(mapping)) => mapping.details.push((key, value.trim())),
            _ => mappings.push(Mapping::parse(line)?),
        }
    }
    Some(mappings)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A mapping's line and, as the kernel has them around, the details that matter.
    fn mapping(line: &str, changes: &[(&str, &str)]) -> String {
        let mut details = vec![
            ("Rss", "64 kB"),
            ("Shared_Clean", "64 kB"),
            ("Shared_Dirty", "0 kB"),
            ("Private_Clean", "0 kB"),
            ("Private_Dirty", "0 kB"),
            ("Anonymous", "0 kB"),
            ("Swap", "0 kB"),
            ("Locked", "0 kB"),
            ("VmFlags", "rd ex mr mw me"),
        ];
        for (key, value) in changes {
            details.retain(|(known, _)| known != key);
            if !value.is_empty() {
                details.push((key, value));
            }
        }
        let details = details.iter().map(|(k, v)| format!("{k}:    {v}\n"));
        format!("{line}\n{}", details.collect::<String>())
    }

    const NOTHING: [Range<usize>; 0] = [];
    /// Where [`TEXT`] is.
    const CODE: Range<usize> = 0x2000..0x4000;
    const TEXT: &str = "2000-4000 r-xp 00001000 fe:00 7          /opt/a program";
    const RELOCATED: &[(&str, &str)] = &[
        ("Private_Dirty", "64 kB"),
        ("Anonymous", "64 kB"),
        ("VmFlags", "rd mr mw me ac"),
    ];

    #[test]
    fn constants_and_code_are_chosen_and_what_was_relocated_or_can_be_written_is_not() {
        let image = [
            mapping("1000-2000 r--p 00000000 fe:00 7  /opt/a program", &[]),
            mapping(TEXT, &[]),
            mapping("4000-5000 r--p 00003000 fe:00 7  /opt/a program", RELOCATED),
            mapping("5000-6000 rw-p 00004000 fe:00 7  /opt/a program", &[]),
            mapping("6000-7000 rw-p 00000000 00:00 0 ", &[]),
            mapping("9000-a000 r-xp 00000000 00:00 0  [vdso]", &[]),
        ];
        assert_eq!(
            clean(&image.concat(), 0x3000),
            [0x1000..0x2000, 0x2000..0x4000]
        );
        let unwritten = mapping(TEXT, &[("Private_Dirty", "64 kB")]);
        assert_eq!(clean(&unwritten, 0x3000), [CODE]);
        assert_eq!(clean(&image.concat(), 0x9000), NOTHING);
        assert_eq!(clean(&image.concat(), 0x8000), NOTHING, "nothing is there");
    }

    #[test]
    fn a_mapping_that_may_have_changed_is_left_alone() {
        for changes in [
            ("Anonymous", "4 kB"),
            // Relocated, then swapped out.
            ("Swap", "4 kB"),
            ("Locked", "4 kB"),
            ("VmFlags", "rd ex mr mw me lo"),
            ("VmFlags", "rd mr mw me ac"),
            ("VmFlags", "rd ex mr mw me zz"),
            // A kernel that does not report it.
            ("Locked", ""),
            ("Anonymous", ""),
            ("Swap", ""),
            ("VmFlags", ""),
            ("Anonymous", "0"),
        ] {
            assert_eq!(
                clean(&mapping(TEXT, &[changes]), 0x2000),
                NOTHING,
                "{changes:?}"
            );
        }
        for line in [
            "2000-4000 rwxp 00001000 fe:00 7          /opt/a program",
            "2000-4000 r-xs 00001000 fe:00 7          /opt/a program",
            "2000-4000 r-xp 00000000 00:00 0 ",
            "2000-4000 r-xp 00000000 00:00 0",
            "2000-4000 r-xp 00000000 00:00 0          [anon:code]",
            "2000 r-xp 00001000 fe:00 7               /opt/a program",
            "",
        ] {
            assert_eq!(clean(&mapping(line, &[]), 0x2000), NOTHING, "{line}");
        }
        let cut = format!("{}nonsense\n", mapping(TEXT, &[]));
        assert_eq!(clean(&cut, 0x2000), NOTHING);
    }

    #[test]
    fn the_same_file_mapped_elsewhere_is_not_the_image() {
        let text = mapping(TEXT, &[]);
        let apart = mapping(
            "8000-9000 r--p 00000000 fe:00 7          /opt/a program",
            &[],
        );
        let after = mapping(
            "4000-5000 r--p 00000000 fe:00 7          /opt/a program",
            &[],
        );
        let other = mapping("4000-5000 r--p 00003000 fe:00 7          /opt/another", &[]);
        for near in [apart, after, other] {
            let smaps = format!("{text}{near}");
            assert_eq!(clean(&smaps, 0x2000), [CODE], "{smaps}");
        }
    }

    #[test]
    fn a_program_keeps_all_of_its_data() {
        use std::sync::atomic::{AtomicU64, Ordering};
        // Addresses that were relocated, and something that was written.
        static RELOCATED: [fn(u64) -> u64; 2] = [|n| n + 1, |n| n * 2];
        static WRITTEN: AtomicU64 = AtomicU64::new(1);
        WRITTEN.store(20, Ordering::Relaxed);
        for _ in 0..3 {
            let released = super::super::release_program().unwrap();
            assert!(released > 1024 * 1024, "{released}");
            let [next, twice] = std::hint::black_box(&RELOCATED);
            assert_eq!(next(twice(WRITTEN.load(Ordering::Relaxed))), 41);
        }
        // What the kernel of this machine reports.
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let chosen = clean(&smaps, clean as *const () as usize);
        let holds = |address: usize| chosen.iter().any(|range| range.contains(&address));
        assert!(holds(clean as *const () as usize));
        assert!(!holds(&raw const RELOCATED as usize));
        assert!(!holds(&raw const WRITTEN as usize));
    }
}
