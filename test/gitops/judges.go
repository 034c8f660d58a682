// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

// Package gitops judges objects as GitOps tools do: by kstatus itself, by the Lua that is shipped for Argo CD, and by the expressions of
// the sample for Flux, with Flux's own evaluator.
package gitops

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	"github.com/fluxcd/pkg/runtime/cel"
	sourcev1 "github.com/fluxcd/source-controller/api/v1"
	lua "github.com/yuin/gopher-lua"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// Judges hold what is shipped for each tool.
type Judges struct {
	// lua are Argo CD's health checks by kind, flux Flux's by kind.
	lua  map[string]string
	flux map[string]*cel.StatusEvaluator
}

// New reads what is shipped below docs of a repository's root.
func New(root string) (*Judges, error) {
	checks, err := argoChecks(filepath.Join(root, "docs/gitops/argocd/argocd-cm.yaml"))
	if err != nil {
		return nil, err
	}
	_, kustomization, err := FluxSample(root)
	if err != nil {
		return nil, err
	}
	j := &Judges{lua: checks, flux: map[string]*cel.StatusEvaluator{}}
	for _, check := range kustomization.Spec.HealthCheckExprs {
		evaluator, err := cel.NewStatusEvaluator(&check.HealthCheckExpressions)
		if err != nil {
			return nil, err
		}
		j.flux[check.Kind] = evaluator
	}
	return j, nil
}

// FluxSample reads the sample strictly, as the controllers' own types.
func FluxSample(root string) (*sourcev1.GitRepository, *kustomizev1.Kustomization, error) {
	text, err := os.ReadFile(filepath.Join(root, "docs/gitops/flux/valetkey-catalogue.yaml"))
	if err != nil {
		return nil, nil, err
	}
	documents := bytes.Split(text, []byte("\n---\n"))
	if len(documents) != 2 {
		return nil, nil, fmt.Errorf("there are %d documents", len(documents))
	}
	repository, kustomization := &sourcev1.GitRepository{}, &kustomizev1.Kustomization{}
	return repository, kustomization, errors.Join(yaml.UnmarshalStrict(documents[0], repository), yaml.UnmarshalStrict(documents[1], kustomization))
}

func argoChecks(file string) (map[string]string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	configuration := &corev1.ConfigMap{}
	if err := yaml.UnmarshalStrict(text, configuration); err != nil {
		return nil, err
	}
	checks := map[string]string{}
	prefix := "resource.customizations.health." + v1alpha1.GroupVersion.Group + "_"
	for key, script := range configuration.Data {
		if len(key) <= len(prefix) || key[:len(prefix)] != prefix {
			return nil, fmt.Errorf("%s is no health check of %s", key, v1alpha1.GroupVersion.Group)
		}
		checks[key[len(prefix):]] = script
	}
	return checks, nil
}

// Judge returns what each tool makes of an object, in the words of kstatus. Flux judges by kstatus where its sample has no expression.
func (j *Judges) Judge(ctx context.Context, object *unstructured.Unstructured) (map[string]status.Status, error) {
	computed, err := status.Compute(object)
	if err != nil {
		return nil, err
	}
	argo, err := j.argo(ctx, object)
	if err != nil {
		return nil, fmt.Errorf("argo CD: %w", err)
	}
	flux := computed
	if evaluator := j.flux[object.GetKind()]; evaluator != nil {
		if flux, err = evaluator.Evaluate(ctx, object); err != nil {
			return nil, fmt.Errorf("flux: %w", err)
		}
	}
	return map[string]status.Status{"kstatus": computed.Status, "Argo CD": argo, "Flux": flux.Status}, nil
}

// argo runs the check as Argo CD does, with the few libraries that it opens.
func (j *Judges) argo(ctx context.Context, object *unstructured.Unstructured) (status.Status, error) {
	script, ok := j.lua[object.GetKind()]
	if !ok {
		return "", fmt.Errorf("there is no check for %s", object.GetKind())
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
		return "", fmt.Errorf("the check returns %s", state.Get(-1).Type())
	}
	if health.RawGetString("message").Type() != lua.LTString {
		return "", errors.New("the check returns no message")
	}
	words := map[string]status.Status{"Healthy": status.CurrentStatus, "Progressing": status.InProgressStatus, "Degraded": status.FailedStatus}
	judged, ok := words[health.RawGetString("status").String()]
	if !ok {
		return "", fmt.Errorf("the check says %s", health.RawGetString("status"))
	}
	return judged, nil
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
