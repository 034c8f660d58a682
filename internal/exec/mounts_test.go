// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package exec_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/api/v1alpha1"
	"github.com/valetkey/valetkey/internal/exec"
)

type steps = []exec.Step

// at is where the credential is mounted, run is the same place without the image's link, and folder is where its files
// lie.
const (
	at     = v1alpha1.MountPath
	run    = "/run/secrets/valetkey.dev"
	folder = at + "/" + exec.KubeletsFolder
)

func do(lists ...steps) steps             { return slices.Concat(lists...) }
func mkdir(path string) steps             { return steps{{Do: "mkdir", Path: path}} }
func link(path, target string) steps      { return steps{{Do: "link", Path: path, Arg: target}} }
func write(path, content string) steps    { return steps{{Do: "write", Path: path, Arg: content}} }
func bind(path, what string) steps        { return steps{{Do: "bind", Path: path, Arg: what}} }
func volume(path string) steps            { return append(mkdir(path), exec.Step{Do: "tmpfs", Path: path}) }
func readonly(path string) steps          { return steps{{Do: "readonly", Path: path}} }
func moved(path, where string) steps      { return steps{{Do: "moved", Path: path, Arg: where}} }
func fifo(path string) steps              { return steps{{Do: "fifo", Path: path}} }
func finished(f files, more steps) steps  { return do(exec.Unfinished(at, f), more, readonly(at)) }
func instead(first steps) steps           { return do(volume(at), first, readonly(at)) }
func secretAt(path string, f files) steps { return exec.Secret(path, f) }

type files = map[string]string

// another is a list of secrets of somebody else's, and the granted variable beside it: with them, the credential would
// stand in the log.
func another(f files) files {
	return files{
		"exec/secrets":               `["nothing-of-this"]`,
		v1alpha1.ExecTermsFile:       f[v1alpha1.ExecTermsFile],
		"exec/environment/api_token": secret,
	}
}

// without is the same but for the list of secrets.
func without(f files) files {
	delete(f, "exec/secrets")
	return f
}

// mountRow is a container, and what valetkey-exec says in it; nothing if it runs the command.
type mountRow struct {
	make func(f files) steps
	says string
}

func expectMounts(t *testing.T, rows map[string]mountRow) {
	t.Helper()
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			c := delivered(t)
			c.make = func(f files) steps { return append(exec.Image(), row.make(f)...) }
			if row.says != "" {
				expectRefused(t, c, 125, row.says)
				return
			}
			code, stdout, stderr := c.runs("sh", "-c", "echo $API_TOKEN")
			if code != 0 || stdout != "[redacted]" || strings.Contains(stderr, secret) {
				t.Errorf("%d: %s %s", code, stdout, stderr)
			}
		})
	}
}

// TestMounts_OnlyWhatTheKubeletMountsIsRead makes containers as runtimes do, with mounts that a Job could have, and
// with links that an image could have.
func TestMounts_OnlyWhatTheKubeletMountsIsRead(t *testing.T) {
	const above, shared = "a volume is mounted above " + at, "/run/secrets"
	expectMounts(t, map[string]mountRow{
		"as it should be": {func(f files) steps { return secretAt(at, f) }, ""},
		"with volumes beside": {func(f files) steps {
			token := secretAt("/var/run/secrets/kubernetes.io/serviceaccount", files{"token": "t"})
			return do(secretAt(at, f), token, volume("/run/lock"))
		}, ""},
		"a volume at /var/run/secrets, as the kubelet orders them": {func(f files) steps {
			return do(volume(shared), secretAt(at, f))
		}, above + ", at /run/secrets;"},
		"a volume there whose other owner moved the credential away": {func(f files) steps {
			mine := do(mkdir(shared+"/mine"), link(at, "mine"), exec.Files(shared+"/mine", another(f)))
			return do(volume(shared), secretAt(at, f), moved(run, shared+"/moved"), mine)
		}, above},
		"a volume at /run": {func(f files) steps { return do(volume("/run"), secretAt(at, f)) }, above + ", at /run;"},
		"a volume at /var, with a link of its own": {func(f files) steps {
			return do(volume("/var"), link("/var/run", "/run"), secretAt(at, f))
		}, above},
		"a volume that is only read, above": {func(f files) steps {
			return do(volume(shared), secretAt(at, f), readonly(shared))
		}, above},
		"a volume over it": {func(f files) steps {
			return do(secretAt(at, f), secretAt(run, another(f)))
		}, "more than one volume is mounted at " + run},
		"a volume under it": {func(f files) steps {
			return do(secretAt(run, another(f)), secretAt(at, f))
		}, "more than one volume is mounted at " + run},
		"a volume in it": {func(f files) steps {
			return finished(f, volume(folder+"/exec/environment"))
		}, "a volume is mounted among the credential's files"},
		"a file over its list": {func(f files) steps {
			return do(secretAt(at, f), write("/list", "[]"), bind(folder+"/exec/secrets", "/list"))
		}, "a volume is mounted among the credential's files"},
		"no volume": {func(f files) steps {
			return do(mkdir(at), exec.Files(at, another(f)))
		}, "is not a volume of its own"},
		"a folder of the image": {func(f files) steps {
			mine := do(mkdir("/mine"), exec.Files("/mine", another(f)))
			return do(mine, mkdir(at), bind(at, "/mine"), readonly(at))
		}, "is a part of another volume"},
		"a volume of another kind": {func(files) steps {
			return do(mkdir(at), bind(at, "/proc"), readonly(at))
		}, "is of the file system proc"},
		"a volume that can be written to": {func(f files) steps {
			return exec.Unfinished(at, f)
		}, "the folder of the credential can be written to"},
		"a link in the place of the folder": {func(f files) steps {
			return do(secretAt("/elsewhere", f), mkdir(shared), link(at, "/elsewhere"))
		}, at + " is not a folder"},
		"a link beside it in its place": {func(f files) steps {
			return do(secretAt(shared+"/mine", another(f)), link(at, "mine"))
		}, at + " is not a folder"},
		"a link of the image's above it": {func(f files) steps {
			return do(mkdir("/deep/down"), link(shared, "../deep/down"), secretAt(at, f))
		}, ""},
		"a link into /proc above it": {func(files) steps { return link(shared, "/proc/self/cwd") }, above},
		"links in a circle above it": {func(files) steps { return link(shared, "secrets") }, "a link above " + at},
		"a list of mounts that is not the kernel's": {func(f files) steps {
			return do(secretAt(at, f), write("/list", ""), bind("/proc/self/mountinfo", "/list"))
		}, "the list of mounts is not the kernel's"},
		"a volume over /proc": {func(f files) steps {
			return do(secretAt(at, f), volume("/proc"), write("/proc/self/mountinfo", ""))
		}, "the list of mounts is not the kernel's"},
		"the program in a volume that can be written to": {func(f files) steps {
			return do(secretAt(at, f), bind(exec.ContainerProgram, os.Args[0]))
		}, "valetkey-exec itself lies on a volume that can be written to"},
	})
}

// TestMounts_OnlyWhatTheKubeletWritesIsRead: the volume is one of memory, to be read, as a Secret is; its files are
// not.
func TestMounts_OnlyWhatTheKubeletWritesIsRead(t *testing.T) {
	const written, elsewhere = "is not as the kubelet writes a Secret", "its link ..data leads elsewhere"
	expectMounts(t, map[string]mountRow{
		"no link to the files":        {func(files) steps { return instead(write(at+"/exec/secrets", "[]")) }, written},
		"files beside the link":       {func(f files) steps { return finished(f, write(at+"/more", "")) }, written},
		"a folder of an earlier time": {func(f files) steps { return finished(f, mkdir(at+"/..2025")) }, written},
		"a link beside the link":      {func(f files) steps { return finished(f, link(at+"/more", "..data/exec")) }, written},
		"a link with the kubelet's mark": {func(f files) steps {
			return finished(f, link(at+"/..more", "..data/..more"))
		}, written},
		"the link leads out": {func(f files) steps {
			mine := do(mkdir("/mine"), exec.Files("/mine", another(f)))
			return do(mine, instead(do(link(at+"/..data", "/mine/..data"), link(at+"/exec", "..data/exec"))))
		}, elsewhere},
		"the link leads to a link": {func(files) steps {
			return instead(do(link(at+"/..data", "..now"), link(at+"/..now", "/mine")))
		}, written},
		"the link leads deeper": {func(f files) steps {
			return instead(do(exec.Files(at+"/..deep", f), link(at+"/..data", "..deep/"+exec.KubeletsFolder)))
		}, elsewhere},
		"the link leads to a folder of no time": {func(files) steps {
			return instead(do(mkdir(at+"/mine"), link(at+"/..data", "mine")))
		}, elsewhere},
		"the link leads up": {func(files) steps { return instead(link(at+"/..data", "..")) }, written},
		"a link among the files": {func(f files) steps {
			return do(write("/mine", "[]"), finished(without(f), link(folder+"/exec/secrets", "/mine")))
		}, written},
		"something that waits among the files": {func(f files) steps {
			return finished(without(f), fifo(folder+"/exec/secrets"))
		}, written},
	})
}

// TestMounts_TheProgramOfTheImageIsTaken: a runner lists it, and nobody else can write to the image.
func TestMounts_TheProgramOfTheImageIsTaken(t *testing.T) {
	c := delivered(t)
	c.program = "/own/valetkey-exec"
	c.make = func(f files) steps {
		return do(exec.Image(), secretAt(at, f), steps{{Do: "copy", Path: c.program, Arg: os.Args[0]}})
	}
	if code, stdout, stderr := c.runs("echo", "ran"); code != 0 || stdout != "ran" {
		t.Errorf("%d: %s %s", code, stdout, stderr)
	}
}
