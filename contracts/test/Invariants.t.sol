// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {InferenceEscrow} from "../src/InferenceEscrow.sol";
import {OpenToken} from "../src/OpenToken.sol";
import {RewardsDistributor} from "../src/RewardsDistributor.sol";
import {Base, Merkle, Vm} from "./Base.sol";

/// @dev Does, in any order, what payers, operator, proposer, guardian and claimants may do, and keeps its own books.
contract Actors {
    Vm internal constant vm = Vm(0x7109709ECfa91a80626fF3989D68f67F5b1DD12D);
    uint256 internal constant PAYERS = 3;
    uint256 public constant EARNERS = 5;

    OpenToken internal immutable token;
    RewardsDistributor internal immutable distributor;
    InferenceEscrow internal immutable escrow;
    address internal immutable proposer;
    address internal immutable guardian;
    address internal immutable operator;

    uint128 public deposits;
    uint128 public withdrawn;
    uint128 public redeemed;
    uint128 public paid;
    mapping(uint64 epoch => uint128[]) internal amounts;
    uint128[] internal highest = new uint128[](EARNERS);

    constructor(OpenToken t, RewardsDistributor d, InferenceEscrow e, address p, address g, address o) {
        (token, distributor, escrow, proposer, guardian, operator) = (t, d, e, p, g, o);
    }

    function payerOf(uint256 i) public pure returns (address) {
        return vm.addr(1 + i % PAYERS);
    }

    function earnerOf(uint256 i) public pure returns (address) {
        return address(uint160(0xEA00 + i % EARNERS));
    }

    function pass(uint32 duration) external {
        vm.warp(block.timestamp + duration % 3 days);
    }

    function deposit(uint256 who, uint128 amount) external {
        amount = 1 + amount % 1e21;
        token.approve(address(escrow), amount);
        escrow.depositFor(payerOf(who), amount);
        deposits += amount;
    }

    function redeem(uint256 who, uint128 spent) external {
        (uint128 deposited,) = escrow.accounts(payerOf(who));
        spent = spent % (deposited + 1);
        bytes32 digest = escrow.authorisationDigest(payerOf(who), spent, type(uint64).max);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(1 + who % PAYERS, digest);
        InferenceEscrow.Redemption[] memory list = new InferenceEscrow.Redemption[](1);
        list[0] = InferenceEscrow.Redemption(payerOf(who), spent, spent, type(uint64).max, abi.encodePacked(r, s, v));
        vm.prank(operator);
        redeemed += escrow.redeem(list);
    }

    function askBack(uint256 who, uint128 amount) external {
        amount = amount % (escrow.balanceOf(payerOf(who)) + 1);
        vm.prank(payerOf(who));
        escrow.initiateWithdraw(amount);
    }

    function takeBack(uint256 who) external {
        (, uint64 availableAt) = escrow.withdrawals(payerOf(who));
        if (availableAt == 0 || availableAt > block.timestamp) return;
        uint256 before = token.balanceOf(payerOf(who));
        vm.prank(payerOf(who));
        escrow.finalizeWithdraw();
        withdrawn += uint128(token.balanceOf(payerOf(who)) - before);
    }

    /// Spreads some of what is funded and not yet promised over the earners, as the next epoch's root.
    function propose(uint128 part, uint256 seed) external {
        uint64 epoch = distributor.lastEpoch() + 1;
        if (epoch > 4 && distributor.epochOf(epoch - 4).activeAt > block.timestamp) return;
        uint128[] memory next = new uint128[](EARNERS);
        uint128 total = 0;
        uint128 promised = epoch == 1 ? 0 : distributor.epochOf(epoch - 1).cumulativeTotal;
        uint128 room = distributor.funded() - promised;
        for (uint256 i = 0; i < EARNERS; ++i) {
            uint128 share = room == 0 ? 0 : uint128(uint256(keccak256(abi.encode(seed, i))) % (room + 1)) / 2;
            share = part % 5 == i ? 0 : share;
            room -= share;
            next[i] = (epoch == 1 ? 0 : amounts[epoch - 1][i]) + share;
            total += next[i];
        }
        amounts[epoch] = next;
        bytes32 root = Merkle.root(leavesOf(epoch));
        vm.prank(proposer);
        distributor.proposeRoot(epoch, root, bytes32(seed), total, uint32(EARNERS), "");
    }

    function veto(uint8 back) external {
        uint64 last = distributor.lastEpoch();
        uint64 first = distributor.activeEpoch() + 1;
        if (first > last) return;
        vm.prank(guardian);
        distributor.veto(last - uint64(back) % (last - first + 1), "");
    }

    /// Claims for one earner against one of the roots that the contract must still know.
    function claim(uint256 who, uint8 back) external {
        who = who % EARNERS;
        uint64 active = distributor.activeEpoch();
        if (active == 0) return;
        uint64 age = uint64(back) % 4;
        uint64 epoch = active > age ? active - age : 1;
        uint128 cumulative = amounts[epoch][who];
        if (cumulative <= distributor.claimed(earnerOf(who))) return;
        bytes32[] memory proof = Merkle.proof(leavesOf(epoch), who);
        paid += distributor.claim(earnerOf(who), cumulative, epoch, proof);
        if (cumulative > highest[who]) highest[who] = cumulative;
    }

    function claimAll() external {
        uint64 epoch = distributor.activeEpoch();
        if (epoch == 0) return;
        bytes32[] memory leaves = leavesOf(epoch);
        RewardsDistributor.Claim[] memory claims = new RewardsDistributor.Claim[](EARNERS);
        for (uint256 i = 0; i < EARNERS; ++i) {
            claims[i] = RewardsDistributor.Claim(earnerOf(i), amounts[epoch][i], Merkle.proof(leaves, i));
            if (amounts[epoch][i] > highest[i]) highest[i] = amounts[epoch][i];
        }
        paid += distributor.claimMany(epoch, claims);
    }

    /// What each earner must hold: the highest leaf that was claimed.
    function due(uint256 who) external view returns (uint128) {
        return highest[who];
    }

    function leavesOf(uint64 epoch) internal view returns (bytes32[] memory leaves) {
        leaves = new bytes32[](EARNERS);
        for (uint256 i = 0; i < EARNERS; ++i) {
            leaves[i] = distributor.leafOf(earnerOf(i), amounts[epoch][i]);
        }
    }
}

contract InvariantsTest is Base {
    Actors internal actors;

    function setUp() public override {
        super.setUp();
        actors = new Actors(token, distributor, escrow, PROPOSER, GUARDIAN, OPERATOR);
        give(address(actors), SUPPLY);
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(actors);
    }

    function invariant_claimedIsPromisedIsFunded() public view {
        uint64 active = distributor.activeEpoch();
        uint128 promised = active == 0 ? 0 : distributor.epochOf(active).cumulativeTotal;
        require(distributor.totalClaimed() <= promised, "claimed more than promised");
        require(promised <= distributor.funded(), "promised more than funded");
        eq(distributor.totalClaimed(), actors.paid());
    }

    function invariant_distributorHoldsWhatIsNotClaimed() public view {
        eq(token.balanceOf(address(distributor)), distributor.funded() - distributor.totalClaimed());
        eq(distributor.funded(), actors.redeemed());
    }

    function invariant_everyEarnerHoldsTheirHighestClaim() public view {
        for (uint256 i = 0; i < actors.EARNERS(); ++i) {
            eq(token.balanceOf(actors.earnerOf(i)), actors.due(i));
            eq(distributor.claimed(actors.earnerOf(i)), actors.due(i));
        }
    }

    function invariant_escrowConserves() public view {
        uint128 held = 0;
        for (uint256 i = 0; i < 3; ++i) {
            held += escrow.balanceOf(actors.payerOf(i));
        }
        eq(token.balanceOf(address(escrow)), held);
        eq(held, actors.deposits() - actors.withdrawn() - actors.redeemed());
    }
}
