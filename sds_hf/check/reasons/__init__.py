"""Why a row is kept or dropped, as a person would say it."""
