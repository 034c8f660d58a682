// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package version says what a program was built from: what Go itself wrote into it.
package version

import (
	"cmp"
	"fmt"
	"runtime/debug"
)

// Line is what a program answers to --version: its name, the version, the commit, and what built it.
func Line(program string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return line(program, &debug.BuildInfo{})
	}
	return line(program, info)
}

func line(program string, info *debug.BuildInfo) string {
	settings := map[string]string{}
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	commit := cmp.Or(settings["vcs.revision"], "unknown")
	if settings["vcs.modified"] == "true" {
		commit += " and changes to it"
	}
	return fmt.Sprintf("%s %s, commit %s, %s, %s/%s", program, cmp.Or(info.Main.Version, "(devel)"), commit,
		cmp.Or(info.GoVersion, "an unknown Go"), settings["GOOS"], settings["GOARCH"])
}
