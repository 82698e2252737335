//! Memory for tables: zeroed, sized once, in huge pages where there are any.
//!
//! A random access to a table costs a walk of the page table besides its cache miss, unless the pages are huge. A
//! [`Region`] takes reserved huge pages where it may and enough are free, else memory that asks for transparent ones.
//! The kernel hands pages out zeroed when they are first touched, and nothing zeroes them again. A caller that must not
//! wait for that on its first packets calls [`Region::populate`] before, from as many threads as there are CPUs.

use std::io;
use std::marker::PhantomData;
use std::ops::Range;

use bytemuck::Pod;
use memmap2::{Advice, MmapMut, MmapOptions};

/// Which pages tables may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pages {
    /// Ordinary memory that asks for transparent huge pages.
    #[default]
    Ordinary,
    /// The system's reserved huge pages, as far as they go.
    Reserved,
}

/// The pages that a [`Region`] got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Backing {
    /// Reserved huge pages, each of this many octets as a power of two.
    Reserved(u8),
    /// Ordinary memory; the kernel was asked for transparent huge pages and decides for itself.
    Ordinary,
}

/// The sizes of reserved huge pages that are tried, as powers of two.
const PAGE_BITS: [u8; 2] = [30, 21];

/// A piece of memory of a shard's tables.
#[derive(Debug)]
pub struct Region {
    map: MmapMut,
    /// Nothing was asked for.
    is_empty: bool,
    backing: Backing,
}

impl Region {
    /// `bytes` zeroed octets or some more.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn new(bytes: usize, pages: Pages) -> io::Result<Region> {
        let sizes = if pages == Pages::Reserved { &PAGE_BITS[..] } else { &[] };
        for &bits in sizes {
            let rounded = bytes.next_multiple_of(1 << bits);
            // Not many of them are worth a small table.
            if rounded - bytes > bytes / 4 {
                continue;
            }
            if let Ok(map) = MmapOptions::new().len(rounded).huge(Some(bits)).map_anon() {
                return Ok(Region { map, is_empty: bytes == 0, backing: Backing::Reserved(bits) });
            }
        }
        let map = MmapMut::map_anon(bytes.max(1))?;
        // A kernel without transparent huge pages refuses; ordinary pages serve as well, only slower.
        let _ = map.advise(Advice::HugePage);
        Ok(Region { map, is_empty: bytes == 0, backing: Backing::Ordinary })
    }

    /// Its size, octets.
    pub fn bytes(&self) -> usize {
        if self.is_empty { 0 } else { self.map.len() }
    }

    /// What it got.
    pub fn backing(&self) -> Backing {
        self.backing
    }

    /// Makes the kernel hand out the pages of a part now, on the calling thread's NUMA node.
    ///
    /// # Errors
    /// The operating system's: out of memory, or a kernel before Linux 5.14, which cannot do it
    /// ([`io::ErrorKind::InvalidInput`]).
    pub fn populate(&self, part: Range<usize>) -> io::Result<()> {
        self.map.advise_range(Advice::PopulateWrite, part.start, part.len())
    }
}

/// A fixed array of plain records on pages of its own.
///
/// Pages are aligned beyond any record, and records are [`Pod`], so the view is a checked cast and never a copy.
pub(crate) struct Slab<T> {
    region: Region,
    bytes: usize,
    record: PhantomData<T>,
}

impl<T: Pod> Slab<T> {
    /// Memory of so many records, octets.
    pub(crate) const fn bytes(len: usize) -> u64 {
        (len * size_of::<T>()) as u64
    }

    /// `len` zeroed records.
    pub(crate) fn new(len: usize, pages: Pages) -> io::Result<Slab<T>> {
        let bytes = len * size_of::<T>();
        Ok(Slab { region: Region::new(bytes, pages)?, bytes, record: PhantomData })
    }

    /// The records. Hot loops take this once a burst.
    #[inline]
    pub(crate) fn as_slice(&self) -> &[T] {
        bytemuck::cast_slice(&self.region.map[..self.bytes])
    }

    /// The records. Hot loops take this once a burst.
    #[inline]
    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        bytemuck::cast_slice_mut(&mut self.region.map[..self.bytes])
    }

    /// Where a record lies: a view of it alone takes fewer checks than one of all.
    #[inline(always)]
    fn place(id: u32) -> Range<usize> {
        let start = id as usize * size_of::<T>();
        start..start + size_of::<T>()
    }

    /// The memory behind them.
    pub(crate) fn region(&self) -> &Region {
        &self.region
    }
}

impl<T: Pod> std::ops::Index<u32> for Slab<T> {
    type Output = T;
    #[inline]
    fn index(&self, id: u32) -> &T {
        bytemuck::from_bytes(&self.region.map[Slab::<T>::place(id)])
    }
}

impl<T: Pod> std::ops::IndexMut<u32> for Slab<T> {
    #[inline]
    fn index_mut(&mut self, id: u32) -> &mut T {
        bytemuck::from_bytes_mut(&mut self.region.map[Slab::<T>::place(id)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_populated_region_is_zeroed_and_writable() {
        let mut lines = Slab::<u64>::new(1 << 16, Pages::Reserved).unwrap();
        let bytes = lines.region().bytes();
        assert!(bytes >= 8 << 16);
        match lines.region().populate(0..bytes) {
            // Linux 5.14 and later.
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::InvalidInput),
            Ok(()) => assert!(resident_kib(&lines) >= 8 << 6),
        }
        assert!(lines.as_slice().iter().all(|&word| word == 0));
        lines[77] = 5;
        assert_eq!(lines[77], 5);
    }

    fn resident_kib(lines: &Slab<u64>) -> u64 {
        let start = format!("{:x}-", lines.as_slice().as_ptr() as usize);
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let (_, ours) = maps.split_once(&start).expect("the region is mapped");
        let fields = |name| ours.lines().find_map(move |line| line.strip_prefix(name));
        let kib = |text: &str| text.trim().trim_end_matches(" kB").parse::<u64>().unwrap();
        kib(fields("Rss:").unwrap()) + kib(fields("Private_Hugetlb:").unwrap())
    }
}
