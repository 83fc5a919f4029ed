//! Uploads of real clients: their lengths, what is inside of them, and how they are refused.

mod lengths;
mod nested;
mod parts;
mod refusals;
mod signatures;
mod way;
