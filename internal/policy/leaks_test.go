// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// TestReferences_AreThoseThatTheKubeletExpands has what Expand of the kubelet makes of each text: see third_party/forked/golang/expansion
// of Kubernetes 1.37.
func TestReferences_AreThoseThatTheKubeletExpands(t *testing.T) {
	for text, want := range map[string][]string{
		"":               nil,
		"$":              nil,
		"$(":             nil,
		"$(A":            nil,
		"$A":             nil,
		"${A}":           nil,
		"$(A)":           {"A"},
		"x-$(A)-$(B)":    {"A", "B"},
		"$$(A)":          nil,
		"$$$(A)":         {"A"},
		"$$$$(A)":        nil,
		"$x$(A)":         {"A"},
		"$ü$(A)":         {"A"},
		"$)$(A)":         {"A"},
		"$($(A)":         {"$(A"},
		"$(A$(B))":       {"A$(B"},
		"$( A )":         {" A "},
		"$()":            {""},
		"$(date) $(A)":   {"date", "A"},
		"$(A\n)":         {"A\n"},
		"($(A))":         {"A"},
		"$(\u00a0A)$(A)": {"\u00a0A", "A"},
	} {
		if diff := cmp.Diff(want, references(text)); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
	}
}

func TestLeaks_AReferenceToTheCredentialIsRefused(t *testing.T) {
	env := newCapability()
	env.Spec.AWS = &v1alpha1.AWSCapability{Delivery: v1alpha1.DeliveryEnv}
	const says = "$(AWS_SECRET_ACCESS_KEY), which the kubelet replaces by the credential"
	step := func(change func(c *corev1.Container)) func(*batchv1.Job, *corev1.PodSpec, *corev1.Container) {
		return func(_ *batchv1.Job, _ *corev1.PodSpec, c *corev1.Container) { change(c) }
	}
	args := func(words ...string) func(*batchv1.Job, *corev1.PodSpec, *corev1.Container) {
		return step(func(c *corev1.Container) { c.Args = words })
	}
	mount := func(c *corev1.Container) {
		c.VolumeMounts = []corev1.VolumeMount{{Name: "d", MountPath: "/d", SubPathExpr: "x-$(AWS_SECRET_ACCESS_KEY)"}}
	}
	checkJobs(t, env, []jobRow{
		{"in an argument", args("--key=$(AWS_SECRET_ACCESS_KEY)"), "args holds " + says},
		{"in the last argument, behind one that is not closed", args("$(", "$(AWS_SECRET_ACCESS_KEY)"), "args holds " + says},
		{"in the command", step(func(c *corev1.Container) { c.Command = []string{"/$(AWS_SECRET_ACCESS_KEY)"} }), "command holds " + says},
		{"in a variable", step(func(c *corev1.Container) {
			c.Env = []corev1.EnvVar{{Name: "COPY", Value: "$(AWS_SECRET_ACCESS_KEY)"}}
		}), "env[COPY] holds " + says},
		{"in a folder's name", step(mount), "volumeMounts[/d].subPathExpr holds " + says},
		{"to a part of it", args("$(AWS_ACCESS_KEY_ID)"), "$(AWS_ACCESS_KEY_ID)"},
		{"which is escaped", args("$$(AWS_SECRET_ACCESS_KEY)"), ""},
		{"to what a shell runs", args("-c", "echo $(date)"), ""},
		{"as a shell has it", args("-c", "echo $AWS_SECRET_ACCESS_KEY ${AWS_SECRET_ACCESS_KEY}"), ""},
		{"to what is no secret", args("$(AWS_REGION)"), ""},
		{"in the container beside", func(_ *batchv1.Job, pod *corev1.PodSpec, _ *corev1.Container) {
			pod.Containers = append(pod.Containers, corev1.Container{Name: "side", Image: image, Args: []string{"$(AWS_SECRET_ACCESS_KEY)"}})
		}, ""},
	})
	files := newCapability()
	files.Spec.AWS = &v1alpha1.AWSCapability{Delivery: v1alpha1.DeliveryFiles}
	checkJobs(t, files, []jobRow{{"of a credential in files", args("$(AWS_SECRET_ACCESS_KEY)"), ""}})
}

func TestLeaks_WhatTheKubeletCopiesIsRefusedOfTheStep(t *testing.T) {
	exec := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"env"}}}}
	step := func(change func(c *corev1.Container)) func(*batchv1.Job, *corev1.PodSpec, *corev1.Container) {
		return func(_ *batchv1.Job, _ *corev1.PodSpec, c *corev1.Container) { change(c) }
	}
	checkJobs(t, newCapability(), []jobRow{
		{"the end of its log, into the status", step(func(c *corev1.Container) {
			c.TerminationMessagePolicy = corev1.TerminationMessageFallbackToLogsOnError
		}), "terminationMessagePolicy must be File"},
		{"what its liveness probe prints", step(func(c *corev1.Container) { c.LivenessProbe = exec }), "livenessProbe must be tcpSocket"},
		{"what its readiness probe prints", step(func(c *corev1.Container) { c.ReadinessProbe = exec }), "readinessProbe must be tcpSocket"},
		{"what its startup probe prints", step(func(c *corev1.Container) { c.StartupProbe = exec }), "startupProbe must be tcpSocket"},
		{"what it answers over HTTP", step(func(c *corev1.Container) {
			c.ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{}}}
		}), "readinessProbe must be tcpSocket"},
		{"what it answers over gRPC", step(func(c *corev1.Container) {
			c.StartupProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{GRPC: &corev1.GRPCAction{}}}
		}), "startupProbe must be tcpSocket"},
		{"what it prints at its end", step(func(c *corev1.Container) {
			c.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"env"}}}}
		}), "lifecycle.preStop must be sleep or tcpSocket"},
		{"what it answers at its end", step(func(c *corev1.Container) {
			c.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{HTTPGet: &corev1.HTTPGetAction{}}}
		}), "lifecycle.preStop must be sleep or tcpSocket"},
		{"whether its end is known", step(func(c *corev1.Container) {
			c.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{TCPSocket: &corev1.TCPSocketAction{}}}
		}), ""},
		{"whether its probe is answered", step(func(c *corev1.Container) {
			c.LivenessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{}}}
		}), ""},
		{"what a container beside it prints", func(_ *batchv1.Job, pod *corev1.PodSpec, _ *corev1.Container) {
			pod.Containers = append(pod.Containers, corev1.Container{Name: "side", Image: image, LivenessProbe: exec,
				TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError})
		}, ""},
	})
}

// TestSecretVariables_AreAllThatBackEndsSet reads from the source of the back ends which variables they set to what is secret.
func TestSecretVariables_AreAllThatBackEndsSet(t *testing.T) {
	env := v1alpha1.DeliveryEnv
	got := SecretVariables(&v1alpha1.Capability{Spec: v1alpha1.CapabilitySpec{
		AWS: &v1alpha1.AWSCapability{Delivery: env}, GCP: &v1alpha1.GCPCapability{Delivery: env}, GitHub: &v1alpha1.GitHubCapability{Delivery: env},
		Token: &v1alpha1.TokenCapability{Delivery: env}, Vault: &v1alpha1.VaultCapability{Variables: []v1alpha1.VaultVariable{{Name: "OWN"}}}}})
	sources, err := filepath.Glob("../provider/*/*.go")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"OWN"}
	for _, source := range sources {
		if strings.HasSuffix(source, "_test.go") || strings.Contains(source, "/fake/") {
			continue
		}
		text, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, variablesIn(t, source, text)...)
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what back ends set, and what SecretVariables knows: %s", diff)
	}
}

// variablesIn are the keys of what a file assigns to the Variables of a credential. A key that is not written there is Vault's, which
// takes them from the capability.
func variablesIn(t *testing.T, source string, text []byte) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), source, text, 0)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	literal := func(e ast.Expr) {
		if l, ok := e.(*ast.BasicLit); ok {
			name, _ := strconv.Unquote(l.Value)
			names = append(names, name)
		} else if !strings.Contains(source, "/vault/") {
			t.Errorf("%s sets a variable by a name that this test cannot read", source)
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		a, ok := n.(*ast.AssignStmt)
		if !ok {
			return true
		}
		switch target := a.Lhs[0].(type) {
		case *ast.SelectorExpr:
			if values, ok := a.Rhs[0].(*ast.CompositeLit); ok && target.Sel.Name == "Variables" {
				for _, e := range values.Elts {
					literal(e.(*ast.KeyValueExpr).Key)
				}
			}
		case *ast.IndexExpr:
			if of, ok := target.X.(*ast.SelectorExpr); ok && of.Sel.Name == "Variables" {
				literal(target.Index)
			}
		}
		return true
	})
	return names
}
