//! The description of the API against its routes.
