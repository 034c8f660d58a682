// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"math"

	"github.com/google/cel-go/checker"
	corev1 "k8s.io/api/core/v1"
	apiservercel "k8s.io/apiserver/pkg/cel"
)

// The names of the variables that an expression sees.
const (
	variableRequest    = "request"
	variableCapability = "capability"
	variableJob        = "job"
)

// The fields of a request that only whoever asks can say, as expressions call them.
const (
	FieldName          = "name"
	FieldTaskID        = "taskID"
	FieldActor         = "actor"
	FieldJustification = "justification"
)

// saidByRequester are all of them.
func saidByRequester() []string {
	return []string{FieldName, FieldTaskID, FieldActor, FieldJustification}
}

// typeRequest is the type of the variable request.
const typeRequest = "valetkey.dev/Request"

// Bounds for the estimate of what an expression could cost where the CRD sets none, or one that nobody reaches. Those of a Job
// are checked before an expression sees it. The values of extra are few in practice, and of 1,024 groups none has anywhere near
// the 512 characters that it may have: an estimate by the CRD's bounds would refuse expressions that cost little. The limit at
// run time holds for all of them.
const (
	maxGroups           = 256
	maxNameLength       = 253
	maxLabels           = 64
	maxLabelKeyLength   = 317
	maxLabelValueLength = 63
	maxExtraValues      = 16
)

// variableTypes declares the variables, so that a wrong field fails when the policy is stored and not when somebody asks.
// The sizes are those of the CRD.
func variableTypes() map[string]*apiservercel.DeclType {
	requester := object("valetkey.dev/Requester", map[string]*apiservercel.DeclType{
		"username": text(512),
		"uid":      text(512),
		"groups":   apiservercel.NewListType(text(512), maxGroups),
		"extra":    apiservercel.NewMapType(text(512), apiservercel.NewListType(text(512), maxExtraValues), 64),
	})
	return map[string]*apiservercel.DeclType{
		variableRequest: object(typeRequest, map[string]*apiservercel.DeclType{
			"name": text(54), "namespace": text(63), "capability": text(63), "taskID": text(128), "actor": text(128),
			"repo": text(100), "environment": text(63), "justification": text(1024),
			"ttlSeconds": apiservercel.IntType, "requester": requester,
		}),
		variableCapability: object("valetkey.dev/Capability", map[string]*apiservercel.DeclType{
			"name": text(63), "provider": text(63),
		}),
		variableJob: object("valetkey.dev/Job", map[string]*apiservercel.DeclType{
			"images":             apiservercel.NewListType(text(maxImageLength), maxImages),
			"container":          text(63),
			"serviceAccountName": text(maxNameLength),
			"labels":             apiservercel.NewMapType(text(maxLabelKeyLength), text(maxLabelValueLength), maxLabels),
		}),
	}
}

func object(name string, types map[string]*apiservercel.DeclType) *apiservercel.DeclType {
	fields := make(map[string]*apiservercel.DeclField, len(types))
	for field, t := range types {
		fields[field] = apiservercel.NewDeclField(field, t, true, nil, nil)
	}
	return apiservercel.NewObjectType(name, fields)
}

func text(maxLength int64) *apiservercel.DeclType {
	t := apiservercel.NewSimpleTypeWithMinSize("string", apiservercel.StringType.CelType(), apiservercel.StringType.DefaultValue(),
		apiservercel.StringType.MinSerializedSize)
	t.MaxElements = maxLength
	return t
}

// variables is what an expression sees. Without a Job, the variable job is absent, and so is each field of the request
// that is not said yet.
func (f *Facts) variables() map[string]any {
	r, c, job := f.Request, f.Capability, f.Job
	request := map[string]any{
		FieldName: r.Name, "namespace": r.Namespace, "capability": r.Spec.Capability,
		FieldTaskID: r.Spec.TaskID, FieldActor: r.Spec.Actor, fieldRepo: r.Spec.Repo, fieldEnvironment: r.Spec.Environment,
		FieldJustification: r.Spec.Justification, "ttlSeconds": int64(TTL(r, c)),
		"requester": map[string]any{
			"username": r.Spec.Requester.Username, "uid": r.Spec.Requester.UID,
			"groups": r.Spec.Requester.Groups, "extra": r.Spec.Requester.Extra,
		},
	}
	for _, field := range f.Unsaid {
		delete(request, field)
	}
	vars := map[string]any{
		variableRequest:    request,
		variableCapability: map[string]any{"name": c.Name, "provider": c.Spec.ProviderRef.Name},
	}
	if job != nil {
		vars[variableJob] = map[string]any{
			"images": imageNames(&job.Spec.Template.Spec), "container": r.Spec.Container,
			"serviceAccountName": serviceAccountName(&job.Spec.Template.Spec), "labels": job.Labels,
		}
	}
	return vars
}

// images are all that the Pod runs or mounts, so that an expression cannot look past one of them.
func images(pod *corev1.PodSpec) []string {
	var all []string
	for _, c := range containers(pod) {
		all = append(all, c.Image)
	}
	for _, v := range pod.Volumes {
		if v.Image != nil {
			all = append(all, v.Image.Reference)
		}
	}
	return all
}

// imageNames are those images in their one spelling, so that no other takes one past an expression. A Job that has an image without one
// is refused before an expression sees it.
func imageNames(pod *corev1.PodSpec) []string {
	var all []string
	for _, image := range images(pod) {
		if name, err := imageName(image); err == nil {
			all = append(all, name)
		}
	}
	return all
}

// containers are all containers of a Pod, of whatever kind.
func containers(pod *corev1.PodSpec) []corev1.Container {
	all := make([]corev1.Container, 0, len(pod.InitContainers)+len(pod.Containers)+len(pod.EphemeralContainers))
	all = append(all, pod.InitContainers...)
	all = append(all, pod.Containers...)
	for _, c := range pod.EphemeralContainers {
		all = append(all, corev1.Container(c.EphemeralContainerCommon))
	}
	return all
}

func serviceAccountName(pod *corev1.PodSpec) string {
	if pod.ServiceAccountName == "" {
		return "default"
	}
	return pod.ServiceAccountName
}

// sizes tells the cost estimate how large each variable can be.
type sizes map[string]*apiservercel.DeclType

var _ checker.CostEstimator = sizes(nil)

// EstimateSize implements [checker.CostEstimator]. What it does not know is taken to have no bound.
func (s sizes) EstimateSize(element checker.AstNode) *checker.SizeEstimate {
	path := element.Path()
	if len(path) == 0 {
		return nil
	}
	current := s[path[0]]
	for _, step := range path[1:] {
		if current == nil {
			return nil
		}
		current = inner(current, step)
	}
	if current == nil || current.MaxElements < 0 || current.MaxElements == math.MaxInt {
		return nil
	}
	return &checker.SizeEstimate{Max: uint64(current.MaxElements)}
}

// EstimateCallCost implements [checker.CostEstimator]. The Kubernetes libraries know their own.
func (s sizes) EstimateCallCost(string, string, *checker.AstNode, []checker.AstNode) *checker.CallEstimate {
	return nil
}

func inner(t *apiservercel.DeclType, step string) *apiservercel.DeclType {
	switch step {
	case "@items", "@values":
		return t.ElemType
	case "@keys":
		return t.KeyType
	}
	if f, ok := t.Fields[step]; ok {
		return f.Type
	}
	return nil
}
