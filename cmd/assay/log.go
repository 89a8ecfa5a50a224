package main

import (
	"log/slog"
)

// quietLog is for commands that answer on standard output: only what went wrong is said, on standard error.
func (e env) quietLog() *slog.Logger {
	return slog.New(slog.NewTextHandler(e.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// serviceLog is for servers: one JSON object a line on standard error.
func (e env) serviceLog(level string) *slog.Logger {
	levels := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}
	return slog.New(slog.NewJSONHandler(e.err, &slog.HandlerOptions{Level: levels[level]}))
}
