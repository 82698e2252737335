//! Arrays that have an entry for each variant of an enum.

/// Lets slices and arrays be indexed by these enums, whose variants are numbered from 0.
macro_rules! enum_index {
    ($($name:ty),*) => {$(
        impl<T> std::ops::Index<$name> for [T] {
            type Output = T;
            #[inline(always)]
            fn index(&self, key: $name) -> &T {
                &self[key as usize]
            }
        }

        impl<T> std::ops::IndexMut<$name> for [T] {
            #[inline(always)]
            fn index_mut(&mut self, key: $name) -> &mut T {
                &mut self[key as usize]
            }
        }
    )*};
}

pub(crate) use enum_index;
