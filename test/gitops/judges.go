// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package gitops judges objects as GitOps tools do: by kstatus, as Flux does, and by the Lua that is shipped for Argo CD.
package gitops

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	lua "github.com/yuin/gopher-lua"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// Checks are Argo CD's health checks by kind.
type Checks map[string]string

// ReadChecks reads those that are shipped below docs of a repository's root.
func ReadChecks(root string) (Checks, error) {
	text, err := os.ReadFile(filepath.Join(root, "docs/gitops/argocd/argocd-cm.yaml"))
	if err != nil {
		return nil, err
	}
	configuration := &corev1.ConfigMap{}
	if err := yaml.UnmarshalStrict(text, configuration); err != nil {
		return nil, err
	}
	checks := Checks{}
	prefix := "resource.customizations.health." + v1alpha1.GroupVersion.Group + "_"
	for key, script := range configuration.Data {
		kind, ok := strings.CutPrefix(key, prefix)
		if !ok {
			return nil, fmt.Errorf("%s is no health check of %s", key, v1alpha1.GroupVersion.Group)
		}
		checks[kind] = script
	}
	return checks, nil
}

// What the tools make of an object, each in its own words.
const (
	Done     = "Flux: Current, Argo CD: Healthy"
	Underway = "Flux: InProgress, Argo CD: Progressing"
	// Held is for people to decide on, and no machine's turn.
	Held   = "Flux: InProgress, Argo CD: Suspended"
	Failed = "Flux: Failed, Argo CD: Degraded"
)

// Judge returns what the tools make of an object.
func (c Checks) Judge(ctx context.Context, object *unstructured.Unstructured) (string, error) {
	flux, err := status.Compute(object)
	if err != nil {
		return "", fmt.Errorf("kstatus: %w", err)
	}
	argo, err := c.argo(ctx, object)
	if err != nil {
		return "", fmt.Errorf("the check for Argo CD: %w", err)
	}
	return "Flux: " + flux.Status.String() + ", Argo CD: " + argo, nil
}

// argo runs the check as Argo CD does, with the few libraries that it opens.
func (c Checks) argo(ctx context.Context, object *unstructured.Unstructured) (string, error) {
	script, ok := c[object.GetKind()]
	if !ok {
		return "", fmt.Errorf("there is none for %s", object.GetKind())
	}
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	state.SetContext(ctx)
	for _, library := range []struct {
		name string
		open lua.LGFunction
	}{{lua.LoadLibName, lua.OpenPackage}, {lua.BaseLibName, lua.OpenBase}, {lua.TabLibName, lua.OpenTable}} {
		if err := state.CallByParam(lua.P{Fn: state.NewFunction(library.open), Protect: true}, lua.LString(library.name)); err != nil {
			return "", err
		}
	}
	state.SetGlobal("obj", luaValue(state, object.Object))
	if err := state.DoString(script); err != nil {
		return "", err
	}
	health, ok := state.Get(-1).(*lua.LTable)
	if !ok {
		return "", fmt.Errorf("it returns %s", state.Get(-1).Type())
	}
	if health.RawGetString("message").Type() != lua.LTString {
		return "", errors.New("it returns no message")
	}
	return health.RawGetString("status").String(), nil
}

// luaValue is a value of a manifest in Lua.
func luaValue(state *lua.LState, value any) lua.LValue {
	switch v := value.(type) {
	case bool:
		return lua.LBool(v)
	case string:
		return lua.LString(v)
	case int64:
		return lua.LNumber(v)
	case float64:
		return lua.LNumber(v)
	case []any:
		table := state.CreateTable(len(v), 0)
		for _, item := range v {
			table.Append(luaValue(state, item))
		}
		return table
	case map[string]any:
		table := state.CreateTable(0, len(v))
		for key, item := range v {
			table.RawSetString(key, luaValue(state, item))
		}
		return table
	default:
		return lua.LNil
	}
}
