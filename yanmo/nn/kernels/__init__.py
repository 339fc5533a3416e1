"""The few operations that deserve a faster form than plain torch, each beside a plain form that gives the same answer."""
