//! The cost of each answer, and of everything else that the replica is paid for.
//!
//! CPU seconds and GPU seconds come in, as measured by the threads that work, and dollars go out:
//! `usd = cpu_seconds × usd_per_hour ÷ 3600 ÷ usable CPUs`. A [`Meter`] goes with every request. Its time is booked in the
//! [`Ledger`], beside the time that the process used for no request (`overhead`) and the time that it left unused
//! (`idle`). The sum of all accounts is the price of the replica times the time that has passed.

mod account;
mod budget;
pub mod control_groups;
mod cpu_quota;
mod device;
mod energy;
mod ledger;
mod meter;
mod price;
mod share;
mod tenants;
mod time;

pub use self::{
    account::Account,
    budget::{Budget, BudgetState},
    cpu_quota::{capacity_cpus, longest_pause},
    device::{DeviceClock, DeviceRun},
    ledger::{BudgetExceeded, Ledger, LoadingGuard, ProcessUsage},
    meter::{BillingInfo, Meter},
    price::{PriceSheet, RequestCost},
    share::FairShare,
    tenants::{Tenant, Tenants},
    time::{CpuTime, ResourceUsage},
};
