// mqtt.js against the broker at MQTT_URL and MQTT_SOCKET. Every wait is for something that happens;
// the limit only ends a failure.
//   test.mjs [TEXT...]    the tests with one of these texts in their names
import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import mqtt from 'mqtt';

const url = process.env.MQTT_URL;
const LIMIT = 15_000;
const VERSIONS = { 3.1: { protocolVersion: 3, protocolId: 'MQIsdp' }, '3.1.1': { protocolVersion: 4 }, 5: { protocolVersion: 5 } };
const tests = [];
const open = new Set();
const test = (name, run) => tests.push({ name, run });
const inEveryVersion = (name, run) => {
    for (const [version, options] of Object.entries(VERSIONS)) {
        test(`${version} ${name}`, () => run(options, `${version}/${name.replaceAll(' ', '-')}`));
    }
};

// A client with its messages as a queue that can be awaited.
class Client {
    constructor(mqttClient) {
        this.mqtt = mqttClient;
        this.messages = [];
        this.readers = [];
        open.add(this);
        mqttClient.on('error', () => {});
        mqttClient.on('message', (topic, payload, packet) => {
            const { qos, retain, dup, properties } = packet;
            const message = { topic, payload: payload.toString('latin1'), qos, retain, dup, properties };
            const reader = this.readers.shift();
            reader ? reader(message) : this.messages.push(message);
        });
    }

    next() {
        return this.messages.length ? this.messages.shift() : new Promise((resolve) => this.readers.push(resolve));
    }

    async take(count) {
        const taken = [];
        while (taken.length < count) taken.push(await this.next());
        return taken;
    }

    subscribe(...args) {
        return this.mqtt.subscribeAsync(...args);
    }

    publish(...args) {
        return this.mqtt.publishAsync(...args);
    }

    end() {
        open.delete(this);
        return this.mqtt.endAsync();
    }

    // Cuts the connection without DISCONNECT.
    async cut() {
        open.delete(this);
        const closed = once(this.mqtt, 'close');
        this.mqtt.stream.destroy();
        await closed;
        this.mqtt.end(true);
    }
}

async function connect(options = {}) {
    const mqttClient = mqtt.connect(url, { reconnectPeriod: 0, connectTimeout: LIMIT, ...options });
    const client = new Client(mqttClient);
    const connected = once(mqttClient, 'connect').then(([connack]) => connack);
    const failed = once(mqttClient, 'close').then(() => Promise.reject(new Error('closed before CONNACK')));
    failed.catch(() => {});
    client.connack = await Promise.race([connected, failed]);
    return client;
}

const facts = ({ topic, payload, qos, retain }) => [topic, payload, qos, retain];

inEveryVersion('every QoS', async (version, base) => {
    const client = await connect(version);
    for (const granted of [0, 1, 2]) {
        await client.subscribe(`${base}/${granted}/+`, { qos: granted });
        for (const qos of [0, 1, 2]) {
            const topic = `${base}/${granted}/${qos}`;
            await client.publish(topic, 'text', { qos });
            assert.deepEqual(facts(await client.next()), [topic, 'text', Math.min(qos, granted), false]);
        }
    }
    await client.end();
});

inEveryVersion('retained messages', async (version, base) => {
    const client = await connect(version);
    await client.publish(`${base}/a`, 'old', { qos: 1, retain: true });
    await client.publish(`${base}/a`, 'new', { qos: 2, retain: true });
    await client.publish(`${base}/b`, 'gone', { qos: 1, retain: true });
    await client.publish(`${base}/b`, '', { qos: 1, retain: true });
    await client.subscribe(`${base}/#`, { qos: 1 });
    assert.deepEqual(facts(await client.next()), [`${base}/a`, 'new', 1, true]);
    await client.publish(`${base}/b`, 'live', { qos: 1, retain: true });
    assert.deepEqual(facts(await client.next()), [`${base}/b`, 'live', 1, false]);
    await client.end();
});

inEveryVersion('will', async (version, base) => {
    const watcher = await connect(version);
    await watcher.subscribe(`${base}/#`, { qos: 2 });
    const will = (name) => ({ ...version, will: { topic: `${base}/${name}`, payload: 'bye', qos: 1, retain: true } });
    const polite = await connect(will('polite'));
    await polite.end();
    const lost = await connect(will('lost'));
    await lost.cut();
    assert.deepEqual(facts(await watcher.next()), [`${base}/lost`, 'bye', 1, false]);
    await watcher.publish(`${base}/end`, '', { qos: 1 });
    assert.equal((await watcher.next()).topic, `${base}/end`);
    await watcher.end();
});

inEveryVersion('resumed session', async (version, base) => {
    const options = { ...version, clientId: base.replaceAll('/', '-'), clean: false, properties: { sessionExpiryInterval: 3600 } };
    const first = await connect(options);
    assert.equal(first.connack.sessionPresent, false);
    await first.subscribe(`${base}/+`, { qos: 2 });
    await first.cut();
    const sender = await connect(version);
    for (const n of [1, 2, 1, 2]) await sender.publish(`${base}/${n}`, `QoS ${n}`, { qos: n });
    await sender.publish(`${base}/0`, 'not kept', { qos: 0 });
    const second = await connect(options);
    // 3.1 has no flag for it.
    assert.equal(second.connack.sessionPresent, version.protocolVersion > 3);
    const waited = await second.take(4);
    assert.deepEqual(
        waited.map(({ payload }) => payload).sort(),
        ['QoS 1', 'QoS 1', 'QoS 2', 'QoS 2'],
    );
    await second.end();
    const clean = await connect({ ...version, clientId: options.clientId, clean: true });
    assert.equal(clean.connack.sessionPresent, false);
    await clean.end();
    await sender.end();
});

inEveryVersion('many messages in order', async (version, base) => {
    const [sender, receiver] = [await connect(version), await connect(version)];
    await receiver.subscribe(base, { qos: 2 });
    for (const qos of [1, 2]) {
        const sent = Array.from({ length: 300 }, (_, n) => String(n));
        await Promise.all(sent.map((payload) => sender.publish(base, payload, { qos })));
        assert.deepEqual((await receiver.take(300)).map(({ payload }) => payload), sent);
    }
    await Promise.all([sender.end(), receiver.end()]);
});

inEveryVersion('large payloads', async (version, base) => {
    const client = await connect(version);
    await client.subscribe(base, { qos: 1 });
    for (const size of [0, 127, 128, 20_001, 70_000, 2_100_000]) {
        const payload = Buffer.alloc(size, 'abcdefg');
        await client.publish(base, payload, { qos: 1 });
        assert.equal((await client.next()).payload, payload.toString('latin1'));
    }
    await client.end();
});

inEveryVersion('unsubscribe', async (version, base) => {
    const client = await connect(version);
    await client.subscribe([`${base}/a`, `${base}/b`], { qos: 1 });
    await client.mqtt.unsubscribeAsync([`${base}/a`, `${base}/unknown`]);
    await client.publish(`${base}/a`, 'no', { qos: 1 });
    await client.publish(`${base}/b`, 'yes', { qos: 1 });
    assert.equal((await client.next()).payload, 'yes');
    await client.end();
});

inEveryVersion('takeover', async (version, base) => {
    const options = { ...version, clientId: base.replaceAll('/', '-') };
    const first = await connect(options);
    const told = [];
    first.mqtt.on('disconnect', ({ reasonCode }) => told.push(reasonCode));
    const closed = once(first.mqtt, 'close');
    const second = await connect(options);
    await closed;
    // Only 5 has a DISCONNECT from the server.
    assert.deepEqual(told, version.protocolVersion === 5 ? [0x8e] : []);
    await Promise.all([first.end(), second.end()]);
});

inEveryVersion('ping', async (version) => {
    const client = await connect({ ...version, keepalive: 30 });
    const answered = new Promise((resolve) => {
        client.mqtt.on('packetreceive', ({ cmd }) => cmd === 'pingresp' && resolve());
    });
    client.mqtt.sendPing();
    await answered;
    await client.end();
});

const five = (options = {}) => connect({ protocolVersion: 5, ...options });

test('5 assigned client identifier', async () => {
    const client = await five({ clientId: '' });
    assert.ok(client.connack.properties.assignedClientIdentifier);
    await client.end();
});

test('5 properties of a message', async () => {
    const client = await five();
    await client.subscribe('properties/a', { qos: 1, properties: { subscriptionIdentifier: 7 } });
    const properties = {
        payloadFormatIndicator: true,
        messageExpiryInterval: 3600,
        contentType: 'text/plain',
        responseTopic: 'answer/here',
        correlationData: Buffer.from([0, 255, 1]),
        userProperties: { b: ['2', '1'], a: '3' },
    };
    await client.publish('properties/a', 'text', { qos: 1, properties });
    const got = (await client.next()).properties;
    assert.deepEqual({ ...got, userProperties: { ...got.userProperties } }, { ...properties, subscriptionIdentifier: 7 });
    await client.end();
});

test('5 overlapping subscriptions give one copy with all identifiers', async () => {
    const client = await five();
    const id = (subscriptionIdentifier) => ({ qos: subscriptionIdentifier - 1, properties: { subscriptionIdentifier } });
    await client.subscribe('overlap/+', id(1));
    await client.subscribe('overlap/#', id(2));
    await client.publish('overlap/a', 'one', { qos: 2 });
    await client.publish('overlap/a', 'two', { qos: 0 });
    const [one, two] = await client.take(2);
    assert.deepEqual([one.payload, one.qos, two.payload], ['one', 1, 'two']);
    assert.deepEqual(one.properties.subscriptionIdentifier.sort(), [1, 2]);
    await client.end();
});

test('5 no local, retain as published, retain handling', async () => {
    const [client, other] = [await five(), await five()];
    await client.publish('options/kept', 'kept', { qos: 1, retain: true });
    await client.subscribe('options/+', { qos: 1, nl: true, rap: true, rh: 2 });
    await client.publish('options/a', 'own', { qos: 1 });
    await other.publish('options/a', 'other', { qos: 1, retain: true });
    assert.deepEqual(facts(await client.next()), ['options/a', 'other', 1, true]);
    await client.subscribe('options/kept', { qos: 1, rh: 1 });
    assert.deepEqual(facts(await client.next()), ['options/kept', 'kept', 1, true]);
    await client.subscribe('options/kept', { qos: 1, rh: 1 });
    await other.publish('options/b', 'last', { qos: 1 });
    assert.equal((await client.next()).payload, 'last');
    await Promise.all([client.end(), other.end()]);
});

test('5 request and response', async () => {
    const [asker, service] = [await five(), await five()];
    await service.subscribe('service/add', { qos: 1 });
    await asker.subscribe('asker/answers', { qos: 1 });
    const correlationData = Buffer.from('request-1');
    await asker.publish('service/add', '1+2', { qos: 1, properties: { responseTopic: 'asker/answers', correlationData } });
    const request = await service.next();
    await service.publish(request.properties.responseTopic, '3', {
        qos: 1,
        properties: { correlationData: request.properties.correlationData },
    });
    const answer = await asker.next();
    assert.deepEqual([answer.payload, answer.properties.correlationData], ['3', correlationData]);
    await Promise.all([asker.end(), service.end()]);
});

test('5 shared subscription', async () => {
    const members = [await five(), await five()];
    for (const member of members) await member.subscribe('$share/team/job', { qos: 1 });
    const sender = await five();
    for (let n = 0; n < 6; n += 1) await sender.publish('job', String(n), { qos: 1 });
    const taken = await Promise.all(members.map((member) => member.take(3)));
    assert.deepEqual(taken.flat().map(({ payload }) => payload).sort(), ['0', '1', '2', '3', '4', '5']);
    await Promise.all([sender, ...members].map((client) => client.end()));
});

test('5 topic aliases in both directions', async () => {
    const receiver = await five({ properties: { topicAliasMaximum: 5 } });
    const sender = await five({ autoAssignTopicAlias: true, autoUseTopicAlias: true });
    assert.ok(sender.connack.properties.topicAliasMaximum > 0);
    await receiver.subscribe('alias/+', { qos: 1 });
    const topics = ['a', 'b', 'a', 'a', 'b', 'c'].map((name) => `alias/${name}`);
    for (const topic of topics) await sender.publish(topic, 'x', { qos: 1 });
    const taken = await receiver.take(topics.length);
    // The repeated ones came as an alias alone.
    assert.ok(taken.every(({ properties }) => properties.topicAlias > 0));
    assert.deepEqual(taken.map(({ topic, properties }) => topic || `alias/${'abc'[properties.topicAlias - 1]}`), topics);
    await Promise.all([receiver.end(), sender.end()]);
});

test('5 receive maximum and maximum packet size of the receiver', async () => {
    const receiver = await five({ properties: { receiveMaximum: 1, maximumPacketSize: 200 } });
    await receiver.subscribe('bounds', { qos: 2 });
    const sender = await five();
    for (const payload of ['a', 'b'.repeat(300), 'c', 'd']) await sender.publish('bounds', payload, { qos: 2 });
    assert.deepEqual((await receiver.take(3)).map(({ payload }) => payload), ['a', 'c', 'd']);
    await Promise.all([receiver.end(), sender.end()]);
});

test('5 reason codes of the server', async () => {
    const client = await five();
    const puback = new Promise((resolve) => {
        client.mqtt.on('packetreceive', (packet) => packet.cmd === 'puback' && resolve(packet.reasonCode));
    });
    await client.publish('nobody/listens', 'x', { qos: 1 });
    assert.equal(await puback, 0x10);
    const unsuback = new Promise((resolve) => {
        client.mqtt.on('packetreceive', (packet) => packet.cmd === 'unsuback' && resolve([...packet.granted]));
    });
    await client.mqtt.unsubscribeAsync('never/subscribed');
    assert.deepEqual(await unsuback, [0x11]);
    const refused = await client.publish('$SYS/broker/version', 'x', { qos: 1 }).then(() => null, (error) => error);
    assert.equal(refused?.code, 0x87);
    await client.end();
});

test('5 delayed will is withdrawn by the return of its client', async () => {
    const watcher = await five();
    await watcher.subscribe('delayed/#', { qos: 1 });
    const options = {
        clientId: 'delayed',
        clean: false,
        properties: { sessionExpiryInterval: 3600 },
        will: { topic: 'delayed/will', payload: 'bye', qos: 1, properties: { willDelayInterval: 3000 } },
    };
    const first = await five(options);
    await first.cut();
    const second = await five(options);
    assert.equal(second.connack.sessionPresent, true);
    await second.publish('delayed/back', 'hello', { qos: 1 });
    assert.equal((await watcher.next()).payload, 'hello');
    await Promise.all([second.end(), watcher.end()]);
});

test('Unix socket', async () => {
    const mqttClient = new mqtt.MqttClient(() => net.connect(process.env.MQTT_SOCKET), { protocolVersion: 5, reconnectPeriod: 0 });
    const client = new Client(mqttClient);
    await once(mqttClient, 'connect');
    await client.subscribe('socket', { qos: 2 });
    await client.publish('socket', 'over a socket', { qos: 2 });
    assert.equal((await client.next()).payload, 'over a socket');
    await client.end();
});

test('versions meet', async () => {
    const clients = await Promise.all(Object.values(VERSIONS).map((options) => connect(options)));
    for (const client of clients) await client.subscribe('meeting', { qos: 1 });
    for (const client of clients) {
        await client.publish('meeting', 'hello', { qos: 2, properties: { userProperties: { from: 'here' } } });
        for (const each of clients) assert.deepEqual(facts(await each.next()), ['meeting', 'hello', 1, false]);
    }
    await Promise.all(clients.map((client) => client.end()));
});

const texts = process.argv.slice(2);
const wanted = tests.filter(({ name }) => !texts.length || texts.some((text) => name.includes(text)));
let failed = 0;
for (const { name, run } of wanted) {
    let timer;
    const limit = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error(`not done in ${LIMIT} ms`)), LIMIT);
    });
    try {
        await Promise.race([run(), limit]);
    } catch (error) {
        failed += 1;
        console.log(`FAILED: ${name}\n${error.stack}`);
    }
    clearTimeout(timer);
    for (const client of open) client.mqtt.end(true);
    open.clear();
}
console.log(`${wanted.length - failed} passed, ${failed} failed`);
process.exit(failed || !wanted.length ? 1 : 0);
