//! The search index as those who use it see it.

mod crash;
mod damage;
mod fixture;
mod full_disk;
mod golden;
mod model;
mod paging;
