mod queues;
mod rules;
mod shares;
mod whole;
