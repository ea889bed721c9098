// Two people with matrix-js-sdk and its Rust crypto. Commands come as JSON lines on standard input; each is answered by one line.
import { createInterface } from "node:readline";
import * as sdk from "matrix-js-sdk";
import { VerificationPhase } from "matrix-js-sdk/lib/crypto-api/verification.js";
import { logger } from "matrix-js-sdk/lib/logger.js";

logger.disableAll?.();
logger.setLevel?.("silent");
for (const name of ["log", "info", "debug", "warn", "error", "trace"]) console[name] = () => {};

const [, , baseUrl] = process.argv;
const people = new Map();
const comparing = new Map();

async function begin(account) {
    const client = sdk.createClient({
        baseUrl,
        userId: account.user_id,
        deviceId: account.device_id,
        accessToken: account.access_token,
    });
    await client.initRustCrypto({ useIndexedDB: false });
    client.getCrypto().globalBlacklistUnverifiedDevices = false;
    await client.startClient({ initialSyncLimit: 20, pollTimeout: 5000 });
    await until(() => client.isInitialSyncComplete());
    return client;
}

async function until(condition, ms = 60000) {
    const end = Date.now() + ms;
    for (;;) {
        const found = await condition();
        if (found) return found;
        if (Date.now() > end) throw new Error("waited in vain: " + condition);
        await new Promise((resolve) => setTimeout(resolve, 50));
    }
}

async function compare(name, request, verifier) {
    const done = verifier.verify();
    done.catch(() => {});
    const sas = await until(() => verifier.getShowSasCallbacks());
    comparing.set(name, { request, sas, done });
    return sas.sas.emoji.map(([picture]) => picture);
}

const commands = {
    async register({ name, password }) {
        const anonymous = sdk.createClient({ baseUrl });
        let session;
        try {
            await anonymous.registerRequest({ username: name, password });
        } catch (error) {
            session = error.data.session;
        }
        const account = await anonymous.registerRequest({
            username: name,
            password,
            auth: { type: "m.login.dummy", session },
        });
        people.set(name, await begin(account));
        return account;
    },
    async resume({ name, account }) {
        people.set(name, await begin(account));
        return {};
    },
    async createEncrypted({ name, invite }) {
        const { room_id } = await people.get(name).createRoom({
            preset: "private_chat",
            invite,
            initial_state: [
                { type: "m.room.encryption", state_key: "", content: { algorithm: "m.megolm.v1.aes-sha2" } },
            ],
        });
        return { room_id };
    },
    async join({ name, room_id }) {
        await people.get(name).joinRoom(room_id);
        return {};
    },
    async waitInvited({ name, room_id }) {
        await until(() => people.get(name).getRoom(room_id)?.getMyMembership() === "invite");
        return {};
    },
    async waitMembers({ name, room_id, count }) {
        const client = people.get(name);
        await until(async () => {
            const room = client.getRoom(room_id);
            return room && room.getJoinedMemberCount() >= count && (await client.getCrypto().isEncryptionEnabledInRoom(room_id));
        });
        return {};
    },
    async send({ name, room_id, body }) {
        const { event_id } = await people.get(name).sendTextMessage(room_id, body);
        return { event_id };
    },
    async read({ name, room_id, event_id }) {
        const client = people.get(name);
        const event = await until(() => client.getRoom(room_id)?.findEventById(event_id));
        await client.decryptEventIfNeeded(event);
        const body = await until(() => !event.isDecryptionFailure() && event.getClearContent()?.body);
        return { body, wire: event.getWireType(), sender: event.getSender() };
    },
    async history({ name, room_id }) {
        const client = people.get(name);
        const answer = await client.createMessagesRequest(room_id, null, 100, sdk.Direction.Backward);
        return { event_ids: answer.chunk.map((event) => event.event_id), types: answer.chunk.map((event) => event.type) };
    },
    async waitDevice({ name, user_id }) {
        const crypto = people.get(name).getCrypto();
        const devices = await until(async () => {
            const found = (await crypto.getUserDeviceInfo([user_id], true)).get(user_id);
            return found?.size ? found : null;
        });
        return { device_ids: [...devices.keys()] };
    },
    // Both compare the same pictures; they are shown to the test, which is the people who look.
    async verify({ name, user_id, device_id }) {
        const request = await people.get(name).getCrypto().requestDeviceVerification(user_id, device_id);
        await until(() => request.phase === VerificationPhase.Ready);
        const verifier = await request.startVerification("m.sas.v1");
        return { pictures: await compare(name, request, verifier) };
    },
    async acceptVerification({ name, user_id }) {
        const crypto = people.get(name).getCrypto();
        const request = await until(() =>
            crypto.getVerificationRequestsToDeviceInProgress(user_id).find((one) => one.phase === VerificationPhase.Requested),
        );
        await request.accept();
        const verifier = await until(() => request.verifier);
        return { pictures: await compare(name, request, verifier) };
    },
    async confirmPictures({ name, user_id, device_id }) {
        const { request, sas, done } = comparing.get(name);
        await sas.confirm();
        await done;
        await until(() => request.phase === VerificationPhase.Done);
        const status = await people.get(name).getCrypto().getDeviceVerificationStatus(user_id, device_id);
        return { verified: status?.isVerified() ?? false };
    },
    async stop({ name }) {
        people.get(name).stopClient();
        people.delete(name);
        return {};
    },
};

for await (const line of createInterface({ input: process.stdin })) {
    let answer;
    try {
        const { command, ...parameters } = JSON.parse(line);
        answer = { ok: await commands[command](parameters) };
    } catch (error) {
        answer = { error: String(error?.stack ?? error), data: error?.data ?? null };
    }
    process.stdout.write(JSON.stringify(answer) + "\n");
}
process.exit(0);
