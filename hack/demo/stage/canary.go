// Copyright The Valetkey Authors.
// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

// Canary looks for every secret key and session token that was ever in a grant's Secret: in the audit log, in the logs of the
// operator, of every container and of the cluster's own programs, in every object but the Secret itself, events and metrics
// included. It returns what it looked at, and an error that says where one was found.
func (s *Stage) Canary(ctx context.Context) (string, error) {
	values, grants := s.secrets.Count()
	if values == 0 {
		return "", errors.New("no credential was ever seen: the search would find nothing whatever happened")
	}
	files, err := s.searchFiles()
	if err != nil {
		return "", err
	}
	objects, err := s.searchObjects(ctx)
	if err != nil {
		return "", err
	}
	metrics, err := s.Metrics(ctx)
	if err != nil {
		return "", err
	}
	if err := s.leak("the metrics", metrics); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d secret values of %d grants: in none of %d files of logs, %d objects and %d lines of metrics",
		values, grants, files, objects, strings.Count(metrics, "\n")), nil
}

// leak says where a value stands that must not stand anywhere.
func (s *Stage) leak(where, text string) error {
	if s.secrets.Stands(text) {
		return fmt.Errorf("a credential stands in %s", where)
	}
	return nil
}

// searchFiles looks at everything that the cluster's programs and containers wrote as a log, and at the audit log.
func (s *Stage) searchFiles() (int, error) {
	count := 0
	err := filepath.WalkDir(s.Cluster.StateDir(), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || !strings.Contains(path, "log") || strings.Contains(path, "etcd/member") {
			return nil //nolint:nilerr // a file that went away while the tree was walked holds nothing any more
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return nil //nolint:nilerr // the same
		}
		count++
		return s.leak(path, string(content))
	})
	return count, err
}

func (s *Stage) searchObjects(ctx context.Context) (int, error) {
	config := rest.CopyConfig(s.Cluster.AdminConfig())
	config.WarningHandler = rest.NoWarnings{} // old kinds are looked at too
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return 0, err
	}
	resources, err := s.listable()
	if err != nil {
		return 0, err
	}
	count := 0
	for _, resource := range resources {
		list, err := client.Resource(resource).List(ctx, metav1.ListOptions{})
		if err != nil {
			return count, fmt.Errorf("listing %s: %w", resource, err)
		}
		text, err := list.MarshalJSON()
		if err != nil {
			return count, err
		}
		count += len(list.Items)
		if err := s.leak(resource.String(), string(text)); err != nil {
			return count, err
		}
	}
	return count, nil
}

// listable are all resources that can be listed, but Secrets.
func (s *Stage) listable() ([]schema.GroupVersionResource, error) {
	client, err := discovery.NewDiscoveryClientForConfig(s.Cluster.AdminConfig())
	if err != nil {
		return nil, err
	}
	lists, err := client.ServerPreferredResources()
	if err != nil {
		return nil, err
	}
	var found []schema.GroupVersionResource
	for _, list := range lists {
		version, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			return nil, err
		}
		for _, r := range list.APIResources {
			if strings.Contains(r.Name, "/") || r.Name == "secrets" || !strings.Contains(strings.Join(r.Verbs, " "), "list") {
				continue
			}
			found = append(found, version.WithResource(r.Name))
		}
	}
	return found, nil
}

// Metrics are the leader's.
func (s *Stage) Metrics(ctx context.Context) (string, error) {
	leader, err := s.Leader(ctx)
	if err != nil {
		return "", err
	}
	return s.Kubectl(ctx, Admin, "get", "--raw", "/api/v1/namespaces/valetkey-system/pods/"+leader+":8080/proxy/metrics")
}
