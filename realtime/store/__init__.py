"""Durable state behind one Protocol, `realtime.store.base.Store`."""
