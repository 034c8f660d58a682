// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package app

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/go-logr/logr"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/pager"

	"github.com/valetkey/valetkey/api/v1alpha1"
)

// checkWatched: without its rights where it is to work, the operator would wait for its cache and say no more. And where grants live that
// it does not watch, nobody would end them. It returns the named namespaces that are served. One that is gone, as whoever administers it may
// delete it, keeps nobody else from being served.
func checkWatched(ctx context.Context, clients kubernetes.Interface, o options, logger logr.Logger) (served []string, err error) {
	if len(o.watchNamespaces) == 0 {
		return nil, checkRights(ctx, clients, metav1.NamespaceAll)
	}
	var problems, gone []error
	for _, namespace := range o.watchNamespaces {
		problem := checkRights(ctx, clients, namespace)
		switch {
		case problem == nil:
			served = append(served, namespace)
		case isLeft(ctx, clients, namespace):
			gone = append(gone, problem)
		default:
			problems = append(problems, problem)
		}
	}
	if len(served) == 0 {
		problems = append(problems, gone...)
	}
	for _, problem := range gone {
		logger.Error(problem, "a watched namespace is gone: it is not served before it is there again, and the operator is started anew")
	}
	return served, errors.Join(append(problems, checkUnwatched(ctx, clients, o, logger))...)
}

// isLeft reports whether a namespace is gone, or goes and has no grant.
func isLeft(ctx context.Context, clients kubernetes.Interface, namespace string) bool {
	ns, err := clients.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{})
	if err != nil {
		return apierrors.IsNotFound(err)
	}
	_, marked := ns.Labels[v1alpha1.LabelInUse]
	return ns.DeletionTimestamp != nil && !marked
}

// checkRights asks about each resource that the operator's ClusterRole for namespaces is there for.
func checkRights(ctx context.Context, clients kubernetes.Interface, namespace string) error {
	var lacks []string
	for _, needs := range []authorizationv1.ResourceAttributes{
		{Verb: "list", Group: v1alpha1.GroupVersion.Group, Resource: "capabilityrequests"}, {Verb: "list", Group: v1alpha1.GroupVersion.Group, Resource: "capabilitygrants"},
		{Verb: "list", Group: "batch", Resource: "jobs"}, {Verb: "list", Resource: "pods"}, {Verb: "create", Resource: "secrets"},
	} {
		needs.Namespace = namespace
		review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &needs}}
		answer, err := clients.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
		if err != nil {
			return fmt.Errorf("asking what the operator may do: %w", err)
		}
		if !answer.Status.Allowed {
			lacks = append(lacks, needs.Verb+" "+needs.Resource)
		}
	}
	switch {
	case len(lacks) == 0:
		return nil
	case namespace == metav1.NamespaceAll:
		return fmt.Errorf("the operator may not %s in the whole cluster: apply config/rbac again, or name the namespaces to watch by --watch-namespace", strings.Join(lacks, ", "))
	default:
		return fmt.Errorf("--watch-namespace %q: the operator may not %s there: make the namespace and bind the ClusterRole valetkey-operator-namespaced in it (config/namespaced)", namespace, strings.Join(lacks, ", "))
	}
}

// checkUnwatched looks for namespaces that are enrolled and not watched: one with living grants stops the operator, which is noticed, where grants that
// nobody revokes would not be; any other is told of.
func checkUnwatched(ctx context.Context, clients kubernetes.Interface, o options, logger logr.Logger) error {
	enrolled := pager.New(pager.SimplePageFunc(func(opts metav1.ListOptions) (runtime.Object, error) {
		return clients.CoreV1().Namespaces().List(ctx, opts)
	}))
	// Each namespace may be as large as the API server stores: never all of them at once.
	enrolled.PageSize, enrolled.PageBufferSize, enrolled.FullListIfExpired = 4, 0, false
	var problems []error
	err := enrolled.EachListItem(ctx, metav1.ListOptions{LabelSelector: v1alpha1.LabelEnrolled + "=true"}, func(item runtime.Object) error {
		ns := item.(*corev1.Namespace)
		switch {
		case o.watches(ns.Name):
		case ns.Labels[v1alpha1.LabelInUse] == "true":
			problems = append(problems, fmt.Errorf("grants live in namespace %s, which is not watched: nobody would end them; add --watch-namespace=%s until they have ended", ns.Name, ns.Name))
		default:
			logger.Info("an enrolled namespace is not watched: requests there wait for ever", "namespace", ns.Name)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("looking for enrolled namespaces: %w", err)
	}
	return errors.Join(problems...)
}
