//! The Merkle tree over the lines: RFC 6962 section 2.1, checked as RFC 9162 section 2.1 says.
//!
//! The root of a tree covers all its lines at once. A proof shows, in a few dozen hashes, that
//! a line is in the tree of some root, or that the tree of a later root begins with that of an
//! earlier one. Everything here works in one pass over the lines and keeps a few dozen hashes, so
//! that a ledger of any length can be proven from.

use std::fmt;
use std::ops::Range;

use aws_lc_rs::digest;

/// What most lines fit into, in bytes.
const USUAL: usize = 1024;

/// A node of the tree.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TreeHash([u8; 32]);

impl TreeHash {
    /// The hash of a line, given without its line feed.
    pub fn of_leaf(line: &[u8]) -> Self {
        // Leaves and inner nodes are hashed differently, else one could pass for the other.
        const LEAF: u8 = 0;
        let mut bytes = [LEAF; 1 + USUAL];
        match bytes.get_mut(1..=line.len()) {
            Some(place) => {
                place.copy_from_slice(line);
                Self::of(&bytes[..=line.len()])
            }
            None => Self::of(&[&[LEAF], line].concat()),
        }
    }

    /// The hash of an inner node.
    pub fn of_node(left: &Self, right: &Self) -> Self {
        let mut bytes = [1; 65];
        bytes[1..33].copy_from_slice(&left.0);
        bytes[33..].copy_from_slice(&right.0);
        Self::of(&bytes)
    }

    /// The root of the tree without leaves.
    pub fn of_empty_tree() -> Self {
        Self::of(&[])
    }

    /// In one call: a context that takes part by part costs more than to put them together.
    fn of(bytes: &[u8]) -> Self {
        let mut hash = [0; digest::SHA256_OUTPUT_LEN];
        hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
        Self(hash)
    }

    /// A hash from its bytes, as read from a checkpoint or a proof.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes of the hash.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for TreeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TreeHash(")?;
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        f.write_str(")")
    }
}

/// The right edge of a growing tree: all that is needed to add leaves and to know the root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// The roots of the perfect trees that the leaves form, largest first: one for each bit that
    /// is set in `size`.
    peaks: Vec<TreeHash>,
}

impl Frontier {
    /// Takes up a tree of this size from its peaks; `None` when a tree of that size has another
    /// number of them.
    pub fn from_peaks(size: u64, peaks: Vec<TreeHash>) -> Option<Self> {
        let fits = peaks.len() == size.count_ones() as usize;
        fits.then_some(Self { size, peaks })
    }

    /// The roots of the perfect trees that the leaves form, largest first.
    pub fn peaks(&self) -> &[TreeHash] {
        &self.peaks
    }

    /// The peaks that cover exactly these leaves; `None` when one covers others as well.
    fn peaks_within(&self, leaves: Range<u64>) -> Option<Vec<TreeHash>> {
        let (mut from, mut covered) = (0, 0);
        let mut peaks = Vec::new();
        for (at, &peak) in self.peaks.iter().enumerate() {
            let before: u32 = u32::try_from(at).ok()?;
            let width = nth_largest_bit(self.size, before)?;
            if from >= leaves.start && from + width <= leaves.end {
                peaks.push(peak);
                covered += width;
            }
            from += width;
        }
        (covered == leaves.end - leaves.start).then_some(peaks)
    }

    /// The number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf on the right.
    pub fn push(&mut self, leaf: TreeHash) {
        let mut hash = leaf;
        // As in binary counting, each trailing one carries over.
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                hash = TreeHash::of_node(&left, &hash);
            }
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// The root of the tree.
    pub fn root(&self) -> TreeHash {
        let mut peaks = self.peaks.iter().rev();
        match peaks.next() {
            None => TreeHash::of_empty_tree(),
            Some(&last) => peaks.fold(last, |right, left| TreeHash::of_node(left, &right)),
        }
    }
}

/// A proof in the making: what it takes from each leaf while they are passed by once, in order.
#[derive(Clone, Debug)]
pub struct Prover {
    size: u64,
    passed: u64,
    /// The subtrees whose roots make up the proof, in the order of the proof. They do not overlap.
    subtrees: Vec<(Range<u64>, Frontier)>,
}

impl Prover {
    /// A proof that the leaf of this index, counted from 0, is in the tree of the first `size`
    /// leaves: `PATH(index, D[size])`. `None` when it is not in that tree.
    pub fn inclusion(index: u64, size: u64) -> Option<Self> {
        if index >= size {
            return None;
        }
        let mut ranges = Vec::new();
        let mut tree = 0..size;
        while tree.end - tree.start > 1 {
            let middle = split(&tree);
            if index < middle {
                ranges.push(middle..tree.end);
                tree.end = middle;
            } else {
                ranges.push(tree.start..middle);
                tree.start = middle;
            }
        }
        Some(Self::of(size, ranges))
    }

    /// A proof that the tree of the first `new` leaves begins with that of the first `old`:
    /// `PROOF(old, D[new])`. `None` when `old` is larger. Nothing need be proven when the two are
    /// equal or `old` is 0; the proof is empty then.
    pub fn consistency(old: u64, new: u64) -> Option<Self> {
        if old > new {
            return None;
        }
        let mut ranges = Vec::new();
        let mut tree = 0..new;
        while old > 0 && tree.end != old {
            let middle = split(&tree);
            if old <= middle {
                ranges.push(middle..tree.end);
                tree.end = middle;
            } else {
                ranges.push(tree.start..middle);
                tree.start = middle;
            }
        }
        // The old root itself is known to whoever checks; only a part of it must be told.
        if tree.start > 0 {
            ranges.push(tree);
        }
        Some(Self::of(new, ranges))
    }

    fn of(size: u64, ranges: Vec<Range<u64>>) -> Self {
        let upwards = ranges.into_iter().rev();
        let subtrees = upwards.map(|range| (range, Frontier::default())).collect();
        Self {
            size,
            passed: 0,
            subtrees,
        }
    }

    /// Continues after leaves of which only the right edge is known, as a checkpoint has it.
    /// `None` when the proof needs more of them than that; it never does for the inclusion of a
    /// leaf after them.
    pub fn after(mut self, known: &Frontier) -> Option<Self> {
        for (range, frontier) in &mut self.subtrees {
            let end = range.end.min(known.size());
            if let Some(covered) = end.checked_sub(range.start).filter(|&size| size > 0) {
                let peaks = known.peaks_within(range.start..end)?;
                *frontier = Frontier::from_peaks(covered, peaks)?;
            }
        }
        self.passed = known.size();
        Some(self)
    }

    /// Takes in the next leaf. Those after the tree are not part of the proof.
    pub fn push(&mut self, leaf: TreeHash) {
        let index = self.passed;
        self.passed += 1;
        let holds = |(range, _): &&mut (Range<u64>, Frontier)| range.contains(&index);
        if let Some((_, frontier)) = self.subtrees.iter_mut().find(holds) {
            frontier.push(leaf);
        }
    }

    /// The hashes of the proof; `None` when the leaves ended before the tree was complete.
    pub fn finish(self) -> Option<Vec<TreeHash>> {
        let is_complete = self.passed >= self.size;
        is_complete.then(|| {
            self.subtrees
                .iter()
                .map(|(_, frontier)| frontier.root())
                .collect()
        })
    }
}

/// The value of a set bit of `size`, counted from the largest.
fn nth_largest_bit(size: u64, n: u32) -> Option<u64> {
    let mut rest = size;
    for _ in 0..n {
        rest &= !(1_u64.checked_shl(rest.checked_ilog2()?)?);
    }
    1_u64.checked_shl(rest.checked_ilog2()?)
}

/// Where the tree over these leaves, at least two, divides: after the largest power of two that
/// is smaller than its size.
fn split(tree: &Range<u64>) -> u64 {
    let size = tree.end - tree.start;
    tree.start + (1 << (size - 1).ilog2())
}

/// Why a proof does not prove anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the proof does not fit the tree")]
pub struct InvalidProof;

/// Checks that the leaf is at this index, counted from 0, of the tree with this size and root
/// (RFC 9162 section 2.1.3.2).
pub fn check_inclusion(
    leaf: TreeHash,
    index: u64,
    size: u64,
    root: TreeHash,
    proof: &[TreeHash],
) -> Result<(), InvalidProof> {
    if index >= size {
        return Err(InvalidProof);
    }
    let mut climb = Climb {
        node: index,
        last: size - 1,
    };
    let mut hash = leaf;
    for sibling in proof {
        hash = match climb.step()? {
            Side::Left => TreeHash::of_node(sibling, &hash),
            Side::Right => TreeHash::of_node(&hash, sibling),
        };
    }
    climb.is_at_root(hash == root)
}

/// Checks that the tree with the new size and root begins with that of the old size and root
/// (RFC 9162 section 2.1.4.2). The empty tree is the beginning of every tree.
pub fn check_consistency(
    (old_size, old_root): (u64, TreeHash),
    (new_size, new_root): (u64, TreeHash),
    proof: &[TreeHash],
) -> Result<(), InvalidProof> {
    let must = |holds: bool| if holds { Ok(()) } else { Err(InvalidProof) };
    if old_size == 0 {
        return must(proof.is_empty() && old_root == TreeHash::of_empty_tree());
    }
    if old_size >= new_size {
        return must(proof.is_empty() && (old_size, old_root) == (new_size, new_root));
    }
    // A perfect old tree is a node of the new one, and its root the first hash of the path.
    let (first, rest) = match proof.split_first() {
        None => return Err(InvalidProof),
        Some(_) if old_size.is_power_of_two() => (&old_root, proof),
        Some(split) => split,
    };
    let mut climb = Climb {
        node: old_size - 1,
        last: new_size - 1,
    };
    climb.skip_complete();
    let (mut old_hash, mut new_hash) = (*first, *first);
    for sibling in rest {
        match climb.step()? {
            Side::Left => {
                old_hash = TreeHash::of_node(sibling, &old_hash);
                new_hash = TreeHash::of_node(sibling, &new_hash);
            }
            Side::Right => new_hash = TreeHash::of_node(&new_hash, sibling),
        }
    }
    climb.is_at_root(old_hash == old_root && new_hash == new_root)
}

/// On which side of a node its sibling in the proof is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Left,
    Right,
}

/// The way from a node up to the root, level by level: `fn` and `sn` of RFC 9162.
struct Climb {
    node: u64,
    last: u64,
}

impl Climb {
    /// One level up, or several where the right edge has no sibling.
    fn step(&mut self) -> Result<Side, InvalidProof> {
        if self.last == 0 {
            return Err(InvalidProof);
        }
        let side = if self.node & 1 == 1 || self.node == self.last {
            while self.node & 1 == 0 && self.node != 0 {
                self.up();
            }
            Side::Left
        } else {
            Side::Right
        };
        self.up();
        Ok(side)
    }

    /// Up to the largest complete subtree that ends with the node.
    fn skip_complete(&mut self) {
        while self.node & 1 == 1 {
            self.up();
        }
    }

    fn up(&mut self) {
        self.node >>= 1;
        self.last >>= 1;
    }

    fn is_at_root(&self, hashes_agree: bool) -> Result<(), InvalidProof> {
        if self.last == 0 && hashes_agree {
            Ok(())
        } else {
            Err(InvalidProof)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(hex: &str) -> TreeHash {
        let byte = |at: usize| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap();
        TreeHash(std::array::from_fn(byte))
    }

    /// The leaves of the test suite of Certificate Transparency, used across its implementations.
    const CT_LEAVES: [&[u8]; 8] = [
        b"",
        b"\0",
        b"\x10",
        b" !",
        b"01",
        b"@ABC",
        b"PQRSTUVW",
        b"`abcdefghijklmno",
    ];

    const CT_ROOTS: [&str; 9] = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    const NODE_1_0: &str = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7";
    const NODE_2_3: &str = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e";
    const NODE_4_7: &str = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4";
    const NODE_4: &str = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b";
    const NODE_4_5: &str = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a";
    const NODE_6_7: &str = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0";

    fn ct_leaves() -> Vec<TreeHash> {
        CT_LEAVES
            .iter()
            .map(|leaf| TreeHash::of_leaf(leaf))
            .collect()
    }

    fn run(prover: Option<Prover>, leaves: &[TreeHash]) -> Vec<TreeHash> {
        let mut prover = prover.unwrap();
        leaves.iter().for_each(|&leaf| prover.push(leaf));
        prover.finish().unwrap()
    }

    #[test]
    fn roots_are_those_of_certificate_transparency() {
        let mut tree = Frontier::default();
        assert_eq!(tree.root(), hash(CT_ROOTS[0]));
        for (leaf, root) in ct_leaves().into_iter().zip(&CT_ROOTS[1..]) {
            tree.push(leaf);
            assert_eq!(tree.root(), hash(root));
        }
        assert_eq!(tree.size(), 8);
    }

    #[test]
    fn proofs_are_those_of_certificate_transparency() {
        let inclusion: [(u64, u64, &[&str]); 4] = [
            (0, 1, &[]),
            (0, 8, &[NODE_1_0, NODE_2_3, NODE_4_7]),
            (5, 8, &[NODE_4, NODE_6_7, CT_ROOTS[4]]),
            (2, 3, &[CT_ROOTS[2]]),
        ];
        for (index, size, expected) in inclusion {
            let expected: Vec<_> = expected.iter().map(|node| hash(node)).collect();
            let proof = run(Prover::inclusion(index, size), &ct_leaves());
            assert_eq!(proof, expected, "{index} in {size}");
        }
        let consistency: [(u64, u64, &[&str]); 4] = [
            (1, 1, &[]),
            (1, 8, &[NODE_1_0, NODE_2_3, NODE_4_7]),
            (6, 8, &[NODE_4_5, NODE_6_7, CT_ROOTS[4]]),
            (2, 5, &[NODE_2_3, NODE_4]),
        ];
        for (old, new, expected) in consistency {
            let expected: Vec<_> = expected.iter().map(|node| hash(node)).collect();
            let proof = run(Prover::consistency(old, new), &ct_leaves());
            assert_eq!(proof, expected, "{old} in {new}");
        }
    }

    /// `MTH` as RFC 6962 section 2.1 writes it down.
    fn definition(leaves: &[TreeHash]) -> TreeHash {
        match leaves {
            [] => TreeHash::of_empty_tree(),
            [leaf] => *leaf,
            _ => {
                let middle = leaves.len().next_power_of_two() / 2;
                TreeHash::of_node(
                    &definition(&leaves[..middle]),
                    &definition(&leaves[middle..]),
                )
            }
        }
    }

    const SMALL: u64 = 20;

    fn small_leaves() -> Vec<TreeHash> {
        (0..SMALL)
            .map(|number| TreeHash::of_leaf(&number.to_be_bytes()))
            .collect()
    }

    fn small_roots() -> Vec<TreeHash> {
        let leaves = small_leaves();
        (0..=leaves.len())
            .map(|size| definition(&leaves[..size]))
            .collect()
    }

    #[test]
    fn a_tree_taken_up_from_its_peaks_grows_alike() {
        let (leaves, roots) = (small_leaves(), small_roots());
        let mut whole = Frontier::default();
        for size in 0..SMALL {
            let mut half = Frontier::from_peaks(size, whole.peaks().to_vec()).unwrap();
            assert_eq!(half.root(), roots[size as usize]);
            for leaf in &leaves[size as usize..] {
                half.push(*leaf);
            }
            assert_eq!(half.root(), roots[SMALL as usize]);
            whole.push(leaves[size as usize]);
            assert_eq!(
                Frontier::from_peaks(size, whole.peaks().to_vec()).is_some(),
                whole.peaks().len() == size.count_ones() as usize
            );
        }
        assert_eq!(
            Frontier::from_peaks(0, Vec::new()),
            Some(Frontier::default())
        );
        assert_eq!(Frontier::from_peaks(3, vec![leaves[0]]), None);
        assert_eq!(Frontier::from_peaks(0, vec![leaves[0]]), None);
    }

    #[test]
    fn a_proof_is_made_from_the_leaves_behind_a_known_right_edge() {
        let leaves = small_leaves();
        for size in 1..=SMALL {
            for index in 0..size {
                let mut known = Frontier::default();
                let mut prover = Prover::inclusion(index, size).unwrap();
                leaves.iter().for_each(|leaf| prover.push(*leaf));
                let whole = prover.finish().unwrap();
                for start in 0..=index {
                    let mut prover = Prover::inclusion(index, size)
                        .unwrap()
                        .after(&known)
                        .unwrap();
                    for leaf in &leaves[start as usize..] {
                        prover.push(*leaf);
                    }
                    assert_eq!(
                        prover.finish().unwrap(),
                        whole,
                        "{index} of {size} from {start}"
                    );
                    known.push(leaves[start as usize]);
                }
            }
        }
        // A leaf among those of which nothing else is known cannot be proven.
        let mut known = Frontier::default();
        leaves[..4].iter().for_each(|leaf| known.push(*leaf));
        assert!(Prover::inclusion(2, 5).unwrap().after(&known).is_none());
    }

    /// Everything that an altered proof could look like at one place.
    fn alterations(proof: &[TreeHash]) -> Vec<Vec<TreeHash>> {
        let other = TreeHash::of_leaf(b"other");
        let mut altered = vec![[proof, &[other]].concat(), [&[other], proof].concat()];
        for at in 0..proof.len() {
            let (before, after) = (&proof[..at], &proof[at + 1..]);
            altered.push([before, after].concat());
            altered.push([before, &[other], after].concat());
        }
        for at in 1..proof.len() {
            let mut swapped = proof.to_vec();
            swapped.swap(at - 1, at);
            altered.push(swapped);
        }
        altered
    }

    #[test]
    fn growing_trees_have_the_roots_of_the_definition() {
        let mut tree = Frontier::default();
        let roots = small_roots();
        for (leaf, root) in small_leaves().into_iter().zip(&roots[1..]) {
            tree.push(leaf);
            assert_eq!(tree.root(), *root);
        }
    }

    #[test]
    fn every_inclusion_in_a_small_tree_is_proven_and_nothing_else() {
        let (leaves, roots) = (small_leaves(), small_roots());
        for size in 1..=SMALL {
            let root = roots[size as usize];
            for index in 0..size {
                let leaf = leaves[index as usize];
                let proof = run(Prover::inclusion(index, size), &leaves);
                assert_eq!(check_inclusion(leaf, index, size, root, &proof), Ok(()));
                let wrong = leaves[((index + 1) % SMALL) as usize];
                assert!(check_inclusion(wrong, index, size, root, &proof).is_err());
                for other in (0..SMALL).filter(|&other| other != index) {
                    assert!(check_inclusion(leaf, other, size, root, &proof).is_err());
                }
                for altered in alterations(&proof) {
                    assert!(check_inclusion(leaf, index, size, root, &altered).is_err());
                }
            }
            assert!(Prover::inclusion(size, size).is_none());
            assert!(check_inclusion(root, size, size, root, &[]).is_err());
        }
        assert!(Prover::inclusion(0, 0).is_none());
    }

    #[test]
    fn every_beginning_of_a_small_tree_is_proven_and_nothing_else() {
        let (leaves, roots) = (small_leaves(), small_roots());
        let at = |size: u64| (size, roots[size as usize]);
        let other = TreeHash::of_leaf(b"other");
        for new in 0..=SMALL {
            for old in 0..=new {
                let proof = run(Prover::consistency(old, new), &leaves);
                assert_eq!(
                    check_consistency(at(old), at(new), &proof),
                    Ok(()),
                    "{old} {new}"
                );
                assert!(check_consistency((old, other), at(new), &proof).is_err());
                if old > 0 {
                    assert!(check_consistency(at(old), (new, other), &proof).is_err());
                }
                for altered in alterations(&proof) {
                    assert!(check_consistency(at(old), at(new), &altered).is_err());
                }
            }
            assert!(Prover::consistency(new + 1, new).is_none());
            assert!(check_consistency(at(SMALL), (new, other), &[]).is_err());
        }
    }

    /// The attack that the proofs exist for: the past rewritten, everything else in order.
    #[test]
    fn a_rewritten_line_breaks_consistency_with_every_checkpoint_that_covers_it() {
        let (leaves, roots) = (small_leaves(), small_roots());
        for rewritten in 0..SMALL {
            let mut forged = leaves.clone();
            forged[rewritten as usize] = TreeHash::of_leaf(b"forged");
            let forged_root = definition(&forged);
            for old in 1..SMALL {
                let proof = run(Prover::consistency(old, SMALL), &forged);
                let checked =
                    check_consistency((old, roots[old as usize]), (SMALL, forged_root), &proof);
                assert_eq!(checked.is_err(), old > rewritten, "{rewritten} {old}");
            }
        }
    }

    #[test]
    fn a_proof_needs_the_whole_tree_and_no_more() {
        let leaves = small_leaves();
        let mut short = Prover::inclusion(3, SMALL).unwrap();
        leaves[1..].iter().for_each(|&leaf| short.push(leaf));
        assert!(short.finish().is_none());
        let exact = run(Prover::inclusion(3, 9), &leaves[..9]);
        assert_eq!(run(Prover::inclusion(3, 9), &leaves), exact);
    }

    #[test]
    fn sizes_at_the_end_of_the_range_do_not_overflow() {
        let leaf = TreeHash::of_leaf(b"");
        assert!(check_inclusion(leaf, u64::MAX - 1, u64::MAX, leaf, &[leaf; 64]).is_err());
        assert!(check_consistency((u64::MAX - 1, leaf), (u64::MAX, leaf), &[leaf; 64]).is_err());
        assert!(Prover::inclusion(u64::MAX - 1, u64::MAX).is_some());
        assert!(Prover::consistency(u64::MAX - 1, u64::MAX).is_some());
    }
}
