// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IEpochRoots} from "../src/IEpochRoots.sol";
import {InferenceEscrow} from "../src/InferenceEscrow.sol";
import {ModelRegistry} from "../src/ModelRegistry.sol";
import {RewardsDistributor} from "../src/RewardsDistributor.sol";
import {Base, Merkle} from "./Base.sol";

/// @dev What nobody deploys here: pays everybody in a list.
contract Push {
    function pay(IERC20 token, address[] calldata accounts, uint256 amount) external {
        for (uint256 i = 0; i < accounts.length; ++i) {
            token.transfer(accounts[i], amount);
        }
    }
}

/// @dev What a whole transaction of each kind costs, intrinsic gas and calldata included, at steady state unless the
/// name says "first". Writes `snapshots/transactions.json`; FORGE_SNAPSHOT_CHECK=true compares instead.
/// forge-config: default.isolate = true
contract GasTest is Base {
    string internal constant URI = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    uint256 internal constant DEPTH = 20; // a million leaves

    /// @dev A proof of DEPTH siblings for one leaf, and the root it leads to.
    function deep(address account, uint128 cumulative) internal view returns (bytes32 root, bytes32[] memory proof) {
        proof = new bytes32[](DEPTH);
        root = distributor.leafOf(account, cumulative);
        for (uint256 i = 0; i < DEPTH; ++i) {
            proof[i] = keccak256(abi.encode(i));
            root = Merkle.parent(root, proof[i]);
        }
    }

    /// @dev Roots for epochs up to `last`, all active, so that every ring slot is in use.
    function settle(uint64 last, bytes32 root) internal {
        for (uint64 epoch = distributor.lastEpoch() + 1; epoch <= last; ++epoch) {
            vm.prank(PROPOSER);
            distributor.proposeRoot(epoch, root, keccak256("log"), 0, 1_000_000, URI);
            pass(WINDOW);
        }
    }

    function test_proposeRoot() public {
        vm.prank(PROPOSER);
        distributor.proposeRoot(1, keccak256("1"), keccak256("log"), 0, 1_000_000, URI);
        record("root_first");
        pass(WINDOW);
        settle(8, keccak256("r"));
        fund(1000);
        vm.prank(PROPOSER);
        distributor.proposeRoot(9, keccak256("9"), keccak256("log"), 1000, 1_000_000, URI);
        record("root");
    }

    function test_claim() public {
        fund(1000 * OPEN);
        (bytes32 root, bytes32[] memory proof) = deep(address(0xA), 3 * OPEN);
        propose(1, root, 500 * OPEN);
        pass(WINDOW);
        distributor.claim(address(0xA), 3 * OPEN, 1, proof);
        record("claim_first_depth20");
        (root, proof) = deep(address(0xA), 5 * OPEN);
        propose(2, root, 500 * OPEN);
        pass(WINDOW);
        distributor.claim(address(0xA), 5 * OPEN, 2, proof);
        record("claim_depth20");
    }

    /// A claim by signature, with a fee for the relayer, who has OPEN already.
    function test_claimWithSig() public {
        fund(1000 * OPEN);
        give(address(this), OPEN);
        for (uint64 epoch = 1; epoch <= 2; ++epoch) {
            (bytes32 root, bytes32[] memory proof) = deep(vm.addr(0xA), epoch * OPEN);
            propose(epoch, root, 500 * OPEN);
            pass(WINDOW);
            RewardsDistributor.SignedClaim memory c = signedClaim(0xA, address(0x5AFE), epoch * OPEN, OPEN, proof);
            distributor.claimWithSig(c, epoch, OPEN / 100);
            if (epoch == 2) record("claim_with_sig_depth20");
        }
    }

    /// Fifty accounts anywhere in a tree of a million: nearly all of their proofs' nodes are distinct.
    function test_claimManyOfFifty() public {
        fund(1000 * OPEN);
        for (uint64 epoch = 1; epoch <= 2; ++epoch) {
            bytes32[] memory leaves = new bytes32[](64);
            for (uint160 i = 0; i < 64; ++i) {
                leaves[i] = branch(distributor.leafOf(address(0x1000 + i), epoch * OPEN), i);
            }
            propose(epoch, Merkle.root(leaves), 500 * OPEN);
            pass(WINDOW);
            RewardsDistributor.Claim[] memory claims = new RewardsDistributor.Claim[](50);
            for (uint160 i = 0; i < 50; ++i) {
                bytes32[] memory proof = lengthened(Merkle.proof(leaves, i), i);
                claims[i] = RewardsDistributor.Claim(address(0x1000 + i), epoch * OPEN, proof);
            }
            distributor.claimMany(epoch, claims);
            record(epoch == 1 ? "claim_many_50_first_depth20" : "claim_many_50_depth20");
        }
    }

    /// @dev The node DEPTH - 6 levels above a leaf, with siblings of its own.
    function branch(bytes32 node, uint160 i) internal pure returns (bytes32) {
        for (uint256 level = 6; level < DEPTH; ++level) {
            node = Merkle.parent(node, keccak256(abi.encode(i, level)));
        }
        return node;
    }

    /// @dev A proof from that node on, begun at the leaf.
    function lengthened(bytes32[] memory upper, uint160 i) internal pure returns (bytes32[] memory proof) {
        proof = new bytes32[](DEPTH);
        for (uint256 level = 6; level < DEPTH; ++level) {
            proof[level - 6] = keccak256(abi.encode(i, level));
        }
        for (uint256 level = 0; level < 6; ++level) {
            proof[DEPTH - 6 + level] = upper[level];
        }
    }

    function test_challenge() public {
        fund(1000 * OPEN);
        (bytes32 first, bytes32[] memory proof) = deep(address(0xA), 3);
        (bytes32 second,) = deep(address(0xA), 2);
        propose(1, first, 500);
        pass(WINDOW);
        give(address(this), BOND);
        token.approve(address(distributor), BOND);
        propose(2, second, 500);
        distributor.challenge(2, second, URI);
        record("challenge_first");
        distributor.proveDecrease(address(0xA), IEpochRoots.Leaf(1, 3, proof), IEpochRoots.Leaf(2, 2, proof));
        record("prove_decrease_depth20");
        distributor.takeBond(address(this));
        record("take_bond");
        token.approve(address(distributor), BOND);
        propose(2, second, 500);
        distributor.challenge(2, second, URI);
        vm.prank(ARBITER);
        distributor.resolve(2, second, true);
        record("resolve");
    }

    function test_depositAndRedeem() public {
        for (uint256 round = 1; round <= 2; ++round) {
            InferenceEscrow.Redemption[] memory list = new InferenceEscrow.Redemption[](100);
            for (uint256 i = 0; i < 100; ++i) {
                list[i] = prepared(100 + i, uint128(round) * OPEN);
            }
            if (round == 2) record("deposit");
            vm.prank(OPERATOR);
            escrow.redeem(list);
            if (round == 2) record("redeem_100");
        }
    }

    /// What somebody signed who holds no ether, and another one sends: OPEN into the escrow by a permit, and by a transfer
    /// (ERC-3009); and OPEN to another address. All who come into it have OPEN, or have deposited, already.
    function test_relayed() public {
        address signer = vm.addr(0xA);
        give(signer, 100 * OPEN);
        give(address(0xB), OPEN);
        for (uint256 round = 1; round <= 2; ++round) {
            bytes32 permit =
                keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
            bytes32 content = keccak256(abi.encode(permit, signer, address(escrow), OPEN, token.nonces(signer), 2e9));
            (uint8 v, bytes32 r, bytes32 s) = vm.sign(0xA, digest(content));
            escrow.depositWithPermit(signer, OPEN, 2e9, v, r, s);
            if (round == 2) record("deposit_with_permit");
            bytes32 nonce = keccak256(abi.encode(round));
            InferenceEscrow.TransferAuthorisation memory a;
            (a.validBefore, a.nonce) = (2e9, nonce);
            (a.v, a.r, a.s) = vm.sign(0xA, digest(transfer("ReceiveWithAuthorization", signer, address(escrow), nonce)));
            escrow.depositWithAuthorization(signer, OPEN, a);
            if (round == 2) record("deposit_with_authorization");
            nonce = ~nonce;
            (v, r, s) = vm.sign(0xA, digest(transfer("TransferWithAuthorization", signer, address(0xB), nonce)));
            token.transferWithAuthorization(signer, address(0xB), OPEN, 0, 2e9, nonce, v, r, s);
            if (round == 2) record("transfer_with_authorization");
        }
    }

    /// @dev An ERC-3009 message over one OPEN, of the given kind.
    function transfer(string memory kind, address from, address to, bytes32 nonce) internal pure returns (bytes32) {
        string memory fields =
            "(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)";
        bytes32 typehash = keccak256(bytes(string.concat(kind, fields)));
        return keccak256(abi.encode(typehash, from, to, OPEN, 0, 2e9, nonce));
    }

    function digest(bytes32 content) internal view returns (bytes32) {
        return keccak256(abi.encodePacked("\x19\x01", token.DOMAIN_SEPARATOR(), content));
    }

    /// What paying everybody would cost: plain transfers, 200 in a transaction, to accounts that have some already.
    function test_push() public {
        Push push = new Push();
        address[] memory accounts = new address[](200);
        for (uint160 i = 0; i < 200; ++i) {
            accounts[i] = address(uint160(uint256(keccak256(abi.encode(i)))));
        }
        for (uint256 round = 1; round <= 2; ++round) {
            give(address(push), 1000 * OPEN);
            push.pay(token, accounts, 3 * OPEN);
            if (round == 2) record("push_200");
        }
    }

    function test_snapshot() public {
        vm.prank(COMMITTER);
        registry.commitSnapshot(keccak256("datanets/medical"), 1, keccak256("root"), 150, URI);
        record("commit_snapshot");
    }

    function test_revision() public {
        for (uint64 count = 1; count <= 16; count += 15) {
            ModelRegistry.Snapshot[] memory made = new ModelRegistry.Snapshot[](count);
            for (uint64 i = 0; i < count; ++i) {
                made[i] = ModelRegistry.Snapshot(keccak256("datanets/medical"), 100 * count + i, keccak256("root"));
                vm.prank(COMMITTER);
                registry.commitSnapshot(made[i].datanetId, made[i].version, made[i].root, 150, URI);
            }
            ModelRegistry.Split memory split = ModelRegistry.Split(2000, 1000);
            bytes32 revision = keccak256(abi.encode(count));
            vm.prank(COMMITTER);
            models.register(revision, keccak256("index"), keccak256("base"), made, address(0xA), split, URI);
            record(count == 1 ? "register_revision" : "register_revision_16_snapshots");
            vm.prank(address(0xA));
            models.proposeSplit(revision, split);
            if (count == 1) record("propose_split");
            pass(SPLIT_DELAY);
            vm.prank(address(0xA));
            models.activateSplit(revision);
            if (count == 1) record("activate_split");
        }
    }

    /// @dev One OPEN more deposited, and an authorisation for all that was spent so far.
    function prepared(uint256 key, uint128 spent) internal returns (InferenceEscrow.Redemption memory) {
        address payer = vm.addr(key);
        give(payer, OPEN);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, escrow.authorisationDigest(payer, spent, 2e9));
        vm.prank(payer);
        token.approve(address(escrow), OPEN);
        vm.prank(payer);
        escrow.deposit(OPEN);
        return InferenceEscrow.Redemption(payer, spent, spent, 2e9, abi.encodePacked(r, s, v));
    }

    function record(string memory name) internal {
        vm.snapshotGasLastCall("transactions", name);
    }
}
