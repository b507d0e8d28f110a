package eks

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// update is the record of a change to an add-on.
type update struct {
	id, cluster, addon, token string
	at                        time.Time
	params                    []wireParam
	request                   string
	status                    string // final once it is not InProgress
	errors                    []wireErrorEntry
}

const (
	inProgress = "InProgress"
	successful = "Successful"
	failed     = "Failed"
)

// addonRequest is the body of create-addon and update-addon.
type addonRequest struct {
	AddonName             string            `json:"addonName"`
	AddonVersion          *string           `json:"addonVersion"`
	ServiceAccountRoleArn *string           `json:"serviceAccountRoleArn"`
	ResolveConflicts      string            `json:"resolveConflicts"`
	ConfigurationValues   *string           `json:"configurationValues"`
	ClientRequestToken    string            `json:"clientRequestToken"`
	Tags                  map[string]string `json:"tags"`
}

func (s *Service) findAddon(c call, cl Cluster, name string) (Addon, error) {
	all, err := s.backend.Addons(c.ctx, cl.Name)
	if err != nil {
		return Addon{}, err
	}
	for _, a := range all {
		if a.Name == name {
			return a, nil
		}
	}
	return Addon{}, NotFound("No addon: " + name + " found in cluster: " + cl.Name)
}

func (s *Service) listAddons(c call) (any, error) {
	cl, err := s.find(c)
	if err != nil {
		return nil, err
	}
	all, err := s.backend.Addons(c.ctx, cl.Name)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(all))
	for _, a := range all {
		names = append(names, a.Name)
	}
	return page(names, "addons", c.query)
}

// named finds the add-on that a request's path names, and its cluster.
func (s *Service) named(c call) (Cluster, Addon, error) {
	cl, err := s.find(c)
	if err != nil {
		return cl, Addon{}, err
	}
	a, err := s.findAddon(c, cl, c.path[3])
	return cl, a, err
}

// readRequest reads a body, which may be empty.
func readRequest(body []byte) (addonRequest, error) {
	var in addonRequest
	if len(body) == 0 {
		return in, nil
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return in, InvalidParameter("the body is not valid JSON: " + err.Error())
	}
	return in, nil
}

func (s *Service) describeAddon(c call) (any, error) {
	cl, a, err := s.named(c)
	if err != nil {
		return nil, err
	}
	return map[string]any{"addon": s.addon(cl, a)}, nil
}

func (s *Service) createAddon(c call) (any, error) {
	cl, err := s.find(c)
	if err != nil {
		return nil, err
	}
	in, err := readRequest(c.body)
	if err != nil {
		return nil, err
	}
	if a, err := s.findAddon(c, cl, in.AddonName); err == nil {
		if err := s.recreated(in, cl); err != nil {
			return nil, err
		}
		return map[string]any{"addon": s.addon(cl, a)}, nil
	}
	version, err := s.version(c, cl, in.AddonName, in.AddonVersion)
	if err != nil {
		return nil, err
	}
	asked := in
	in.AddonVersion = &version.Version
	if _, err := s.apply(c, cl, in, version, true); err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.created[cl.Name+"/"+in.AddonName] = asked
	s.mu.Unlock()
	a, err := s.findAddon(c, cl, in.AddonName)
	if err != nil {
		return nil, err
	}
	return map[string]any{"addon": s.addon(cl, a)}, nil
}

// recreated tells whether a request to create what exists is the one that has created it.
func (s *Service) recreated(in addonRequest, cl Cluster) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.created[cl.Name+"/"+in.AddonName]
	if in.ClientRequestToken == "" || in.ClientRequestToken != was.ClientRequestToken {
		return InUse("Addon already exists.")
	}
	return in.sameAs(was.fingerprint())
}

func (s *Service) updateAddon(c call) (any, error) {
	cl, a, err := s.named(c)
	if err != nil {
		return nil, err
	}
	in, err := readRequest(c.body)
	if err != nil {
		return nil, err
	}
	in.AddonName = a.Name
	if u, err := s.repeated(in, cl); u != nil || err != nil {
		return map[string]any{"update": u}, err
	}
	if a.Status.busy() {
		return nil, InUse("Addon " + a.Name + " cannot be updated as it is currently in " + string(a.Status) + " state")
	}
	s.settleAll(cl, a)
	wanted := in.AddonVersion
	if wanted == nil {
		wanted = &a.Version
	}
	version, err := s.version(c, cl, a.Name, wanted)
	if err != nil {
		return nil, err
	}
	u, err := s.apply(c, cl, in, version, false)
	if err != nil {
		return nil, err
	}
	return map[string]any{"update": u.wire()}, nil
}

// repeated finds the update that a request with the same token has made already.
func (s *Service) repeated(in addonRequest, cl Cluster) (*wireUpdate, error) {
	if in.ClientRequestToken == "" {
		return nil, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.updates {
		if u.token == in.ClientRequestToken && u.cluster == cl.Name && u.addon == in.AddonName {
			if err := in.sameAs(u.request); err != nil {
				return nil, err
			}
			w := u.wire()
			return &w, nil
		}
	}
	return nil, nil
}

// sameAs refuses a token that was used with another request.
func (in addonRequest) sameAs(fingerprint string) error {
	if fingerprint != in.fingerprint() {
		return InvalidParameter("The clientRequestToken was used with other parameters.")
	}
	return nil
}

func (in addonRequest) fingerprint() string {
	b, err := json.Marshal(in)
	if err != nil { // texts only
		return in.AddonName
	}
	return string(b)
}

// apply checks a change, hands it to the backend and records the update.
func (s *Service) apply(c call, cl Cluster, in addonRequest, version AddonVersion, create bool) (*update, error) {
	if in.ResolveConflicts != "" && !slices.Contains([]string{"NONE", "OVERWRITE", "PRESERVE"}, in.ResolveConflicts) {
		return nil, InvalidParameter("resolveConflicts must be one of NONE, OVERWRITE, PRESERVE")
	}
	if in.ConfigurationValues != nil {
		if err := ValidateConfiguration(version.Schema, *in.ConfigurationValues); err != nil {
			return nil, err
		}
	}
	u := &update{
		id: newID(), cluster: cl.Name, addon: in.AddonName, token: in.ClientRequestToken, at: s.now(),
		request: in.fingerprint(), status: inProgress, params: in.params(),
	}
	err := s.backend.ApplyAddon(c.ctx, cl.Name, AddonChange{
		Name: in.AddonName, UpdateID: u.id, Create: create, Version: in.AddonVersion, ServiceAccountRoleARN: in.ServiceAccountRoleArn,
		ConfigurationValues: in.ConfigurationValues, ResolveConflicts: in.ResolveConflicts, Tags: in.Tags,
	})
	if err != nil {
		return nil, err
	}
	if !create {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.updates = append(s.updates, u)
	}
	return u, nil
}

func (in addonRequest) params() []wireParam {
	params := []wireParam{}
	add := func(kind string, value *string) {
		if value != nil {
			params = append(params, wireParam{kind, *value})
		}
	}
	add("AddonVersion", in.AddonVersion)
	add("ServiceAccountRoleArn", in.ServiceAccountRoleArn)
	if in.ResolveConflicts != "" {
		add("ResolveConflicts", &in.ResolveConflicts)
	}
	add("ConfigurationValues", in.ConfigurationValues)
	return params
}

func (s *Service) deleteAddon(c call) (any, error) {
	cl, a, err := s.named(c)
	if err != nil {
		return nil, err
	}
	if a.Status.busy() {
		return nil, InUse("Addon " + a.Name + " cannot be deleted as it is currently in " + string(a.Status) + " state")
	}
	if err := s.backend.RemoveAddon(c.ctx, cl.Name, a.Name, c.query.Get("preserve") == "true"); err != nil {
		return nil, err
	}
	a.Status = Deleting
	return map[string]any{"addon": s.addon(cl, a)}, nil
}

func (u *update) wire() wireUpdate {
	return wireUpdate{
		ID: u.id, Status: u.status, Type: "AddonUpdate", Params: u.params, CreatedAt: wireTime(u.at),
		Errors: append([]wireErrorEntry{}, u.errors...),
	}
}

// settle looks at the add-on and ends an update that it shows to be over.
func (u *update) settle(a Addon, found bool) {
	switch {
	case u.status != inProgress || found && a.UpdateID == u.id && a.Status.busy():
	case !found:
		u.status = failed
		u.errors = []wireErrorEntry{{ErrorCode: "Unknown", ErrorMessage: "The add-on was removed."}}
	case a.UpdateID != u.id || a.Status == Active: // another change came after it: it had ended well enough for that
		u.status = successful
	default:
		u.status = failed
		for _, i := range a.Issues {
			u.errors = append(u.errors, wireErrorEntry{ErrorCode: i.Code, ErrorMessage: i.Message, ResourceIDs: i.Resources})
		}
	}
}

// settleAll ends what an add-on's state shows to be over, before another change hides it.
func (s *Service) settleAll(cl Cluster, a Addon) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.updates {
		if u.cluster == cl.Name && u.addon == a.Name {
			u.settle(a, true)
		}
	}
}

func (s *Service) listUpdates(c call) (any, error) {
	cl, err := s.find(c)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := []string{}
	for _, u := range s.updates {
		if u.cluster == cl.Name && u.addon == c.query.Get("addonName") {
			ids = append(ids, u.id)
		}
	}
	return page(ids, "updateIds", c.query)
}

func (s *Service) describeUpdate(c call) (any, error) {
	cl, err := s.find(c)
	if err != nil {
		return nil, err
	}
	all, err := s.backend.Addons(c.ctx, cl.Name)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range s.updates {
		if u.id != c.path[3] || u.cluster != cl.Name || u.addon != c.query.Get("addonName") {
			continue
		}
		i := slices.IndexFunc(all, func(a Addon) bool { return a.Name == u.addon })
		var a Addon
		if i >= 0 {
			a = all[i]
		}
		u.settle(a, i >= 0)
		return map[string]any{"update": u.wire()}, nil
	}
	return nil, NotFound("No update found for ID: " + c.path[3])
}

// version finds a version of an add-on that runs on a cluster; nil asks for the default one.
func (s *Service) version(c call, cl Cluster, name string, want *string) (AddonVersion, error) {
	all, err := s.backend.Catalogue(c.ctx)
	if err != nil {
		return AddonVersion{}, err
	}
	known := false
	for _, v := range all {
		if v.Addon != name {
			continue
		}
		known = true
		if want != nil && v.Version == *want || want == nil && slices.Contains(v.DefaultFor, cl.Version) {
			return v, nil
		}
	}
	if !known {
		return AddonVersion{}, InvalidParameter("Addon " + name + " specified is not supported")
	}
	if want == nil {
		return AddonVersion{}, InvalidParameter("Addon " + name + " has no default version for Kubernetes " + cl.Version)
	}
	return AddonVersion{}, InvalidParameter("Addon version specified is not supported: " + *want)
}

func (s *Service) addonVersions(c call) (any, error) {
	all, err := s.backend.Catalogue(c.ctx)
	if err != nil {
		return nil, err
	}
	type entry = map[string]any
	addons := []entry{}
	index := make(map[string]int)
	for _, v := range all {
		if n := c.query.Get("addonName"); n != "" && n != v.Addon {
			continue
		}
		if k := c.query.Get("kubernetesVersion"); k != "" && !slices.Contains(v.ClusterVersions, k) {
			continue
		}
		compatibilities := []entry{}
		for _, k := range v.ClusterVersions {
			compatibilities = append(compatibilities, entry{
				"clusterVersion": k, "platformVersions": []string{"*"}, "defaultVersion": slices.Contains(v.DefaultFor, k),
			})
		}
		i, ok := index[v.Addon]
		if !ok {
			i = len(addons)
			index[v.Addon] = i
			addons = append(addons, entry{
				"addonName": v.Addon, "type": v.Type, "publisher": "eks", "owner": "aws", "addonVersions": []entry{},
			})
		}
		addons[i]["addonVersions"] = append(addons[i]["addonVersions"].([]entry), entry{
			"addonVersion": v.Version, "architecture": v.Architectures, "compatibilities": compatibilities, "requiresConfiguration": false,
		})
	}
	return entry{"addons": addons}, nil
}

func (s *Service) addonConfiguration(c call) (any, error) {
	name, want := c.query.Get("addonName"), c.query.Get("addonVersion")
	v, err := s.version(c, Cluster{}, name, &want)
	if err != nil {
		return nil, err
	}
	return map[string]any{"addonName": v.Addon, "addonVersion": v.Version, "configurationSchema": v.Schema}, nil
}

// page cuts a list of names by maxResults (1 to 100) and nextToken.
func page(names []string, member string, q url.Values) (any, error) {
	after := ""
	if token := q.Get("nextToken"); token != "" {
		b, err := base64.RawURLEncoding.DecodeString(token)
		if err != nil || !strings.HasPrefix(string(b), member+"\x00") {
			return nil, InvalidParameter("Invalid nextToken")
		}
		after = strings.TrimPrefix(string(b), member+"\x00")
	}
	if after != "" {
		i := slices.Index(names, after) + 1
		if i == 0 { // gone since: on with what would come after it
			i, _ = slices.BinarySearch(names, after)
		}
		names = names[i:]
	}
	out := map[string]any{member: names}
	if text := q.Get("maxResults"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 100 {
			return nil, InvalidParameter("maxResults must be between 1 and 100")
		}
		if len(names) > n {
			out[member] = names[:n]
			out["nextToken"] = base64.RawURLEncoding.EncodeToString([]byte(member + "\x00" + names[n-1]))
		}
	}
	return out, nil
}
