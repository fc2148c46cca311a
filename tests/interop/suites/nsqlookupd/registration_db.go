package nsqlookupd

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
)

// Registration is a topic (Category "topic", no SubKey) or a channel (Category "channel").
type Registration struct {
	Category string
	Key      string
	SubKey   string
}

type Registrations []Registration

// PeerInfo is what IDENTIFY said, as answers show it.
type PeerInfo struct {
	RemoteAddress    string `json:"remote_address"`
	Hostname         string `json:"hostname"`
	BroadcastAddress string `json:"broadcast_address"`
	TCPPort          int    `json:"tcp_port"`
	HTTPPort         int    `json:"http_port"`
	Version          string `json:"version"`
}

type Producer struct {
	peerInfo *PeerInfo
}

type Producers []*Producer

// RegistrationDB is the registry of the process behind `address`, read and changed over HTTP.
type RegistrationDB struct {
	address string
}

// AddRegistration creates a topic or a channel.
func (r *RegistrationDB) AddRegistration(k Registration) {
	query := url.Values{"topic": {k.Key}}
	if k.Category == "channel" {
		query.Set("channel", k.SubKey)
	}
	answer, err := http.Post(r.url("/"+k.Category+"/create", query), "", nil)
	if err != nil {
		panic(err)
	}
	answer.Body.Close()
	if answer.StatusCode != 200 {
		panic(fmt.Sprintf("creating %v: %s", k, answer.Status))
	}
}

// FindRegistrations knows what the tests ask: one topic or "*", and a channel or "*" of one topic.
func (r *RegistrationDB) FindRegistrations(category, key, subkey string) Registrations {
	found := Registrations{}
	var names map[string][]string
	if category == "topic" {
		r.get("/topics", nil, &names)
		for _, topic := range names["topics"] {
			if key == "*" || key == topic {
				found = append(found, Registration{category, topic, ""})
			}
		}
		return found
	}
	r.get("/channels", url.Values{"topic": {key}}, &names)
	for _, channel := range names["channels"] {
		if subkey == "*" || subkey == channel {
			found = append(found, Registration{category, key, channel})
		}
	}
	return found
}

// FindProducers returns who registered a topic or a channel, tombstoned and inactive ones too.
func (r *RegistrationDB) FindProducers(category, key, subkey string) Producers {
	var everything map[string][]*PeerInfo
	r.get("/debug", nil, &everything)
	found := Producers{}
	for _, peer := range everything[category+":"+key+":"+subkey] {
		found = append(found, &Producer{peer})
	}
	return found
}

func (r *RegistrationDB) url(path string, query url.Values) string {
	return "http://" + r.address + path + "?" + query.Encode()
}

func (r *RegistrationDB) get(path string, query url.Values, into interface{}) {
	answer, err := http.Get(r.url(path, query))
	if err != nil {
		panic(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != 200 {
		panic(fmt.Sprintf("%s: %s", path, answer.Status))
	}
	if err := json.NewDecoder(answer.Body).Decode(into); err != nil {
		panic(err)
	}
}
