//! From a prompt to a difficulty: `measure` reads structure, `grade` judges. Pure; knows neither models nor prices.
