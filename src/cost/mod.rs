//! What an answer cost, and where the rest of the money went.
//!
//! Everything is counted in CPU seconds (and GPU seconds, where there is a device), as the threads that worked measured
//! them, and priced by the sheet: `usd = cpu_seconds × usd_per_hour ÷ 3600 ÷ usable CPUs`. A [`Meter`] goes with every
//! request; what it counted is booked in the [`Ledger`], beside what the process used for nobody (`overhead`) and what
//! it left unused (`idle`). All accounts together are the price of the replica times the time that passed.

mod budget;
mod capacity;
mod device;
mod energy;
mod ledger;
mod meter;
mod price;
mod tenants;
mod time;

pub use self::{
    budget::{Budget, BudgetState},
    capacity::capacity_cpus,
    device::{DeviceClock, OnDevice},
    ledger::{Account, BudgetExceeded, Ledger, Loading},
    meter::{Bill, Meter},
    price::{PriceSheet, RequestCost},
    tenants::{Tenant, Tenants},
    time::{CpuTime, Used},
};
