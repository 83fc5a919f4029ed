//! The system calls on memory: all of the crate's `unsafe` is in this file.

#![allow(unsafe_code)]

use std::fs::File;
use std::sync::atomic::AtomicU64;
use std::{io, ptr};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mlock, mmap, mmap_anonymous, munmap};

#[cfg(target_os = "linux")]
use super::program;

/// New pages of zeros, locked in memory and excluded from core dumps for the life of the process.
/// `None` where the system grants no more (`RLIMIT_MEMLOCK`).
///
/// `length` is rounded up to whole pages by the system; no more than `length` is given out.
pub(super) fn locked(length: usize) -> Option<&'static mut [u8]> {
    // SAFETY: the system chooses where an anonymous private mapping goes, so it overlaps nothing.
    // It is readable, writable, `length` bytes long and filled with zeros, which are valid `u8`s.
    // Its address is known only here and it is never unmapped once it was handed out, so the one
    // mutable reference to it may live forever.
    unsafe {
        let start = mmap_anonymous(
            ptr::null_mut(),
            length,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::PRIVATE,
        )
        .ok()?;
        if mlock(start, length).is_err() {
            // It cannot fail for a mapping just made; if it did, it would only waste address space.
            let _ = munmap(start, length);
            return None;
        }
        // Core dumps are off for the whole process. This applies if they are turned on.
        let _ = madvise(start, length, Advice::LinuxDontDump);
        Some(std::slice::from_raw_parts_mut(start.cast::<u8>(), length))
    }
}

/// The first `N` words of a file, shared with the processes that map it, for the life of the
/// process.
///
/// The file must have that many words and must not become shorter: a read past its end would end
/// the process.
pub fn shared<const N: usize>(file: &File) -> io::Result<&'static [AtomicU64; N]> {
    // SAFETY: the system chooses where the mapping goes, so it overlaps nothing; a page begins
    // where an `AtomicU64` may. It is readable, at least `N` words long and never unmapped. Nothing
    // else in this process refers to these addresses, and others write to these pages as they would
    // to atomics: each word has one value after the other.
    unsafe {
        let start = mmap(
            ptr::null_mut(),
            size_of::<[AtomicU64; N]>(),
            ProtFlags::READ,
            MapFlags::SHARED,
            file,
            0,
        )?;
        Ok(&*start.cast())
    }
}

/// Returns free heap pages to the system.
#[cfg(target_env = "gnu")]
pub fn trim() {
    // SAFETY: `malloc_trim` takes no pointer, is documented as MT-safe, and only releases pages
    // that the allocator itself holds free.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Does nothing with other allocators.
#[cfg(not(target_env = "gnu"))]
pub fn trim() {}

/// Unmaps the pages of the program's code and constants that are unchanged since they were read
/// from its file. Pages that are needed again are mapped from the page cache, a few at a time;
/// those that only the start needed are not. Returns the size of the address ranges in bytes.
///
/// The pages stay in the page cache, from which the kernel may evict them with or without this.
#[cfg(target_os = "linux")]
pub fn release_program() -> io::Result<usize> {
    let smaps = std::fs::read_to_string("/proc/self/smaps")?;
    // A function of the program and one of the C library, which may be one image.
    let anchors = [release_program as *const (), libc::getpid as *const ()];
    let ranges = anchors.map(|anchor| program::clean(&smaps, anchor as usize));
    let mut length = 0;
    for range in ranges.into_iter().flatten() {
        let start = ptr::without_provenance_mut(range.start);
        // SAFETY: these are unwritten pages of a private mapping of a file, according to the kernel
        // (`program::clean`). It drops such pages itself when memory is short, and does the same
        // here. The next access reads the same bytes from the file. The mapping is still the same
        // one: it is of the image of the program or of the C library, which are never unmapped, and
        // nothing in this process makes their code or constants writable. Locked pages were not
        // chosen, and if they are locked by now, the kernel refuses.
        unsafe { madvise(start, range.len(), Advice::LinuxDontNeed) }?;
        length += range.len();
    }
    Ok(length)
}

/// Does nothing on other systems.
#[cfg(not(target_os = "linux"))]
pub fn release_program() -> io::Result<usize> {
    Ok(0)
}
