// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package version

import (
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
)

func TestTheLineSaysWhatWasBuilt(t *testing.T) {
	platform := []debug.BuildSetting{{Key: "GOOS", Value: "linux"}, {Key: "GOARCH", Value: "arm64"}}
	for name, c := range map[string]struct {
		info debug.BuildInfo
		want string
	}{
		"a release": {
			debug.BuildInfo{GoVersion: "go1.26.8", Main: debug.Module{Version: "v1.2.3"}, Settings: append(platform, debug.BuildSetting{Key: "vcs.revision", Value: "ff6444d"}, debug.BuildSetting{Key: "vcs.modified", Value: "false"})},
			"manager v1.2.3, commit ff6444d, go1.26.8, linux/arm64",
		},
		"a changed tree": {
			debug.BuildInfo{GoVersion: "go1.26.8", Main: debug.Module{Version: "v1.2.3+dirty"}, Settings: append(platform, debug.BuildSetting{Key: "vcs.revision", Value: "ff6444d"}, debug.BuildSetting{Key: "vcs.modified", Value: "true"})},
			"manager v1.2.3+dirty, commit ff6444d and changes to it, go1.26.8, linux/arm64",
		},
		"a build that knows of no commit": {
			debug.BuildInfo{GoVersion: "go1.26.8", Main: debug.Module{Version: "(devel)"}, Settings: platform},
			"manager (devel), commit unknown, go1.26.8, linux/arm64",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := line("manager", &c.info); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestTheLineIsOfThisProgram(t *testing.T) {
	if got := Line("it"); !strings.HasPrefix(got, "it ") || !strings.HasSuffix(got, runtime.Version()+", "+runtime.GOOS+"/"+runtime.GOARCH) {
		t.Error(got)
	}
}
