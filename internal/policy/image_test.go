// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

const (
	sum      = "@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	otherSum = "@sha256:60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752"
)

func TestImageName_IsTheOneThatTheKubeletReads(t *testing.T) {
	for given, want := range map[string]string{
		"busybox":                                      "docker.io/library/busybox:latest",
		"busybox:1.36":                                 "docker.io/library/busybox:1.36",
		"library/busybox":                              "docker.io/library/busybox:latest",
		"docker.io/library/busybox:latest":             "docker.io/library/busybox:latest",
		"index.docker.io/library/busybox":              "docker.io/library/busybox:latest",
		"index.docker.io:443/acme/tool" + sum:          "",
		"INDEX.docker.io/acme/tool" + sum:              "",
		"docker.io:443/busybox":                        "",
		"Docker.io/busybox":                            "",
		"registry-1.docker.io/library/busybox":         "",
		"registry.hub.docker.com/library/busybox":      "",
		"notdocker.io/busybox":                         "notdocker.io/busybox:latest",
		"acme/tool" + sum:                              "docker.io/acme/tool" + sum,
		"docker.io/acme/tool:v1" + sum:                 "docker.io/acme/tool" + sum,
		"registry.example.com/publisher" + sum:         "registry.example.com/publisher" + sum,
		"registry.example.com/publisher:v1.2" + sum:    "registry.example.com/publisher" + sum,
		"registry.example.com:5000/a/b/publisher":      "registry.example.com:5000/a/b/publisher:latest",
		"localhost/publisher":                          "localhost/publisher:latest",
		"Registry.Example.com/publisher":               "registry.example.com/publisher:latest",
		"registry.example.com:443/publisher":           "registry.example.com/publisher:latest",
		"registry.example.com:0443/publisher":          "registry.example.com/publisher:latest",
		"localhost:05000/publisher":                    "localhost:5000/publisher:latest",
		"[::1]:05000/publisher":                        "[::1]:5000/publisher:latest",
		"[0:0::1]/publisher":                           "[::1]/publisher:latest",
		"[::FFFF:7f00:1]:5000/publisher":               "127.0.0.1:5000/publisher:latest",
		"registry.example.com./publisher":              "",
		"":                                             "",
		"busybox:":                                     "",
		"Busybox":                                      "",
		"registry.example.com/../publisher" + sum:      "",
		"registry.example.com//publisher":              "",
		"registry.example.com/publisher,other=x" + sum: "",
		"busybox@sha256:9f86":                          "",
		"busybox@md5:9f86d081884c7d659a2feaa0c55ad0":   "",
		"busybox ":                                     "",
		"bus\u200bybox":                                "",
		strings.TrimPrefix(sum, "@sha256:"):            "",
	} {
		got, err := imageName(given)
		if got != want || (err == nil) == (want == "") {
			t.Errorf("%q is %q, %v; want %q", given, got, err, want)
		}
	}
}

func TestRunner_TheDigestDecides(t *testing.T) {
	for _, tt := range []struct {
		name, listed, runs string
		same               bool
	}{
		{"the very same", "registry.example.com/publisher" + sum, "registry.example.com/publisher" + sum, true},
		{"a tag that the Job leaves out", "registry.example.com/publisher:v1" + sum, "registry.example.com/publisher" + sum, true},
		{"a tag that the runner leaves out", "registry.example.com/publisher" + sum, "registry.example.com/publisher:v1" + sum, true},
		{"another tag", "registry.example.com/publisher:v1" + sum, "registry.example.com/publisher:v2" + sum, true},
		{"a registry that is left out", "docker.io/library/publisher" + sum, "publisher" + sum, true},
		{"another digest", "registry.example.com/publisher" + sum, "registry.example.com/publisher" + otherSum, false},
		{"another repository", "registry.example.com/publisher" + sum, "registry.example.com/publisher2" + sum, false},
		{"another registry", "registry.example.com/publisher" + sum, "registry.example.org/publisher" + sum, false},
		{"the tag alone", "registry.example.com/publisher:v1" + sum, "registry.example.com/publisher:v1", false},
		{"what is no image", "registry.example.com/publisher" + sum, "registry.example.com/../publisher" + sum, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld()
			container := &w.Job.Spec.Template.Spec.Containers[0]
			w.Capability.Spec.Runner = []v1alpha1.Runner{{Image: tt.listed, Command: container.Command, AnyArgs: true}}
			container.Image = tt.runs
			err := CheckJob(w.Job, w.Request, w.Capability)
			if (err == nil) != tt.same {
				t.Errorf("got %v", err)
			}
			if err != nil && !strings.Contains(err.Error(), "image is "+tt.runs) {
				t.Errorf("the refusal does not say which image: %v", err)
			}
		})
	}
}

func TestExec_TheDigestDecides(t *testing.T) {
	for reference, same := range map[string]bool{"valetkey/exec" + sum: true, "docker.io/valetkey/exec:v2" + sum: true, "valetkey/exec" + otherSum: false, "valetkey/exec:v1": false} {
		w := newWorld()
		w.Capability.Spec.Exec = &v1alpha1.ExecDemand{Images: []string{"docker.io/valetkey/exec:v1" + sum}}
		w.Capability.Spec.Runner = []v1alpha1.Runner{execRunner()}
		pod := &w.Job.Spec.Template.Spec
		fromImage(w.Job, pod, &pod.Containers[0])
		pod.Volumes[0].Image.Reference = reference
		if err := CheckJob(w.Job, w.Request, w.Capability); (err == nil) != same {
			t.Errorf("a volume of %s: %v", reference, err)
		}
	}
}

func TestImages_NoSpellingIsPastAnExpression(t *testing.T) {
	forbids := func(image, expression string) func(*world) {
		return func(w *world) {
			w.Job.Spec.Template.Spec.Containers[0].Image = image
			p := deny("not-from-there")
			p.Spec.When = when(expression, "no images of there")
			w.add(p)
		}
	}
	const hub, tool = "job.images.exists(i, i.startsWith('docker.io/'))", "'registry.example.com/tool" + sum + "' in job.images"
	denied := func(name, image, expression string) row {
		return row{name: name, given: forbids(image, expression), verdict: Deny, reason: v1alpha1.ReasonDeniedByPolicy, policy: "not-from-there"}
	}
	run(t, []row{
		denied("a registry that is left out", "busybox"+sum, hub),
		denied("a registry by its other name", "index.docker.io/library/busybox"+sum, hub),
		denied("a registry that is written", "docker.io/busybox"+sum, hub),
		denied("a tag beside the digest", "registry.example.com/tool:v1"+sum, tool),
		{name: "what is no image", given: forbids("docker.io/../busybox"+sum, hub), verdict: Deny, reason: v1alpha1.ReasonJobRefused,
			says: []string{`the image "docker.io/../busybox@sha256:`, "is not a name that a container can be made of"}},
		{name: "a registry by a name that nodes do not read as it", given: forbids("index.docker.io:443/library/busybox"+sum, hub), verdict: Deny, reason: v1alpha1.ReasonJobRefused,
			says: []string{`the image "index.docker.io:443/library/busybox`, "write docker.io/library/busybox"}},
		{name: "an init container's that is none", given: func(w *world) {
			w.Job.Spec.Template.Spec.InitContainers = []corev1.Container{{Name: "a", Image: "a,b=c"}}
		}, verdict: Deny, reason: v1alpha1.ReasonJobRefused, says: []string{`the image "a,b=c"`}},
	})
}

func TestImages_WhatIsReviewedIsAsTheJobWritesIt(t *testing.T) {
	job := newJob()
	job.Spec.Template.Spec.Containers[0].Image = "publisher:v1" + sum
	review, risks, err := NewReview(reviewOf(job))
	if review.Job.Image != "publisher:v1"+sum || len(risks) != 0 || err != nil {
		t.Errorf("reviewed as %s, risks %v, %v", review.Job.Image, risks, err)
	}
	if other, _, err := NewReview(reviewOf(newJob())); review.Digest == other.Digest || err != nil {
		t.Error("another text has the same digest")
	}
}
