"""The process that speaks with the coordinator and looks after the worker. It never imports torch."""
